//! What one process does on this machine without any of ours: the measure for everything else.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const NAME: &str = "viewstone-bench-baseline";

/// Bytes for each second when pieces of `piece` bytes are appended to one file, each synced once.
pub(crate) fn append_rate(directory: &Path, piece: usize, pieces: usize) -> io::Result<f64> {
    let path = directory.join(NAME);
    let bytes = vec![0x5a; 1 << 20];
    let mut file = File::create(&path)?;
    let begun = Instant::now();
    for _ in 0..pieces {
        for _ in 0..piece / bytes.len() {
            file.write_all(&bytes)?;
        }
        file.sync_data()?;
    }
    let elapsed = begun.elapsed();
    std::fs::remove_file(&path)?;
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    let total = (piece * pieces) as f64;
    Ok(total / elapsed.as_secs_f64())
}

/// How long the machine takes to write 4 KiB durably over a file that has its space, one after another.
pub(crate) fn sync_times(directory: &Path, count: usize) -> io::Result<Vec<Duration>> {
    use std::os::unix::fs::FileExt;

    const PIECE: usize = 4 << 10;
    const PIECES: usize = 1 << 10;
    let path = directory.join(NAME);
    let file = File::create(&path)?;
    let zeros = vec![0; PIECE * PIECES];
    file.write_all_at(&zeros, 0)?;
    file.sync_all()?;
    let times = (0..count)
        .map(|index| {
            let begun = Instant::now();
            file.write_all_at(&[0x5a; PIECE], (index % PIECES * PIECE) as u64)?;
            file.sync_data()?;
            Ok(begun.elapsed())
        })
        .collect::<io::Result<Vec<_>>>();
    std::fs::remove_file(&path)?;
    times
}
