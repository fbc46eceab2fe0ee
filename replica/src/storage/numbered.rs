//! Files that are told apart by a number in their names.

pub(super) fn name(prefix: &str, number: u32) -> String {
    format!("{prefix}{number:08}")
}

/// The numbers of those among the names that `name` made, ascending.
pub(super) fn numbers(prefix: &str, names: &[String]) -> Vec<u32> {
    let parse =
        |found: &String| found.strip_prefix(prefix)?.parse().ok().filter(|it| name(prefix, *it) == *found);
    let mut numbers: Vec<u32> = names.iter().filter_map(parse).collect();
    numbers.sort_unstable();
    numbers
}
