//! What the text of a setting means.

use std::net::SocketAddr;
use std::path::PathBuf;

use protocol::types::{REPLICAS_MAX, ReplicaId};
use tracing::level_filters::LevelFilter;

/// Free space that objects never take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserve {
    Bytes(u64),
    Percent(u8),
}

impl Reserve {
    pub(crate) const STANDARD: Reserve = Reserve::Percent(5);

    /// How much that is of a disk of `size` bytes.
    pub(crate) fn bytes_of(self, size: u64) -> u64 {
        match self {
            Reserve::Bytes(bytes) => bytes,
            Reserve::Percent(percent) => size / 100 * u64::from(percent),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("a path is expected".to_owned()) } else { Ok(PathBuf::from(text)) }
}

pub(super) fn replica(text: &str) -> Result<ReplicaId, String> {
    let number = text.parse::<u8>().ok().filter(|number| usize::from(*number) < REPLICAS_MAX);
    number.map(ReplicaId::new).ok_or_else(|| {
        format!("{text:?} is not the number of a replica: those are 0 to {}", REPLICAS_MAX - 1)
    })
}

pub(super) fn peers(text: &str) -> Result<Vec<String>, String> {
    let mut peers: Vec<String> = Vec::new();
    for place in text.split(',').map(str::trim) {
        port_of(place)?;
        if peers.iter().any(|peer| peer == place) {
            return Err(format!("{place} is there twice"));
        }
        peers.push(place.to_owned());
    }
    if peers.len() > REPLICAS_MAX {
        return Err(format!("{} replicas are too many: {REPLICAS_MAX} at most", peers.len()));
    }
    Ok(peers)
}

/// The port of `host:port`, where the host may be a name or an address.
pub(super) fn port_of(place: &str) -> Result<u16, String> {
    let expected =
        || format!("{place:?} is not a host and a port such as store-1.example:7400 or [::1]:7400");
    let (host, port) = place.rsplit_once(':').ok_or_else(expected)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host.contains(char::is_whitespace) || (host.contains(':') && !bracketed) {
        return Err(expected());
    }
    port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(expected)
}

pub(super) fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    text.split(',').map(|text| address(text.trim())).collect()
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address and a port such as 10.0.0.1:7400 or [::]:7400"))
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

/// None if it is turned off.
pub(super) fn admin(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() { Ok(None) } else { address(text).map(Some) }
}

pub(super) fn reserve(text: &str) -> Result<Reserve, String> {
    let Some(percent) = text.strip_suffix('%') else {
        return size(text)
            .map(Reserve::Bytes)
            .map_err(|_| format!("{text:?} is not a size such as 500MB, 64M, 1GiB or 5%"));
    };
    let percent = percent.trim().parse::<u8>().ok().filter(|percent| *percent < 100);
    percent.map(Reserve::Percent).ok_or_else(|| format!("{text:?} leaves no room for objects"))
}

/// A letter alone means the binary unit, as it does to `dd`, `truncate` and `qemu-img`; with a `B` after it,
/// the decimal one.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is not a size such as 500MB, 64M or 1GiB");
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().map_err(|_| expected())?;
    let unit = match text[end..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "k" | "K" | "Ki" | "KiB" => 1 << 10,
        "M" | "Mi" | "MiB" => 1 << 20,
        "G" | "Gi" | "GiB" => 1 << 30,
        "T" | "Ti" | "TiB" => 1 << 40,
        _ => return Err(expected()),
    };
    number.checked_mul(unit).ok_or_else(|| format!("{text:?} is more than there can be"))
}

pub(super) fn access_key(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b',' | b'='));
    if !fits || text.len() < 3 || text.len() > 128 {
        return Err(
            "an access key has 3 to 128 letters, digits and signs, but no slash, comma or equals sign"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Says nothing of the text itself.
pub(super) fn secret_key(text: &str) -> Result<String, String> {
    if text.len() < 8 || text.len() > 512 {
        return Err("a secret has 8 to 512 characters".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn region(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !fits || text.is_empty() || text.len() > 64 {
        return Err(format!("{text:?} is not a region such as us-east-1"));
    }
    Ok(text.to_owned())
}

/// None of them if the text is empty.
pub(super) fn domains(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let check = |name: &str| {
        let fits = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
        if !fits || name.starts_with('.') {
            return Err(format!("{name:?} is not a host name such as s3.example.com"));
        }
        Ok(name.to_owned())
    };
    names.map(check).collect()
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}

pub(super) fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(format!("{text:?} is none of error, warn, info, debug, trace")),
    }
}
