//! The one secret of a cluster. Everything that proves membership follows from it, so that an operator
//! has one thing to distribute and one thing to guard.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use protocol::data::receipt::ReceiptKey;
use protocol::types::{ClusterId, Peer};
use ring::rand::{SecureRandom, SystemRandom};

/// 32 random bytes. Whoever has them is a member.
///
/// As text: `vsk1-`, 64 hexadecimal digits, `-`, 8 digits of a checksum, so that a key that was
/// pasted in part is recognised as that and not taken for the key of another cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; KEY_SIZE]);

const KEY_SIZE: usize = 32;
const PREFIX: &str = "vsk1-";
const SUM_SIZE: usize = 4;
const TEXT_SIZE: usize = PREFIX.len() + 2 * KEY_SIZE + 1 + 2 * SUM_SIZE;

/// A file that is longer holds something else.
const FILE_SIZE_MAX: u64 = 4 << 10;

impl ClusterKey {
    pub const fn new(bytes: [u8; KEY_SIZE]) -> ClusterKey {
        ClusterKey(bytes)
    }

    /// A new key, from the operating system's randomness.
    pub fn generate() -> Result<ClusterKey, KeyError> {
        let mut bytes = [0; KEY_SIZE];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
        Ok(ClusterKey(bytes))
    }

    /// The key as an operator copies it. Not `Display`: printing a secret should be a decision.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(TEXT_SIZE);
        text.push_str(PREFIX);
        push_hex(&mut text, &self.0);
        text.push('-');
        push_hex(&mut text, &self.sum());
        text
    }

    /// Reads the text form from a file that is not for everybody to read.
    pub fn read(path: &Path) -> Result<ClusterKey, KeyError> {
        let file = fs::File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(KeyError::OpenToEveryone(mode & 0o777));
        }
        let mut text = String::new();
        file.take(FILE_SIZE_MAX).read_to_string(&mut text)?;
        text.trim().parse()
    }

    /// Writes the text form to a new file that only its owner can read.
    pub fn write_new(&self, path: &Path) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", self.to_text())?;
        file.sync_all()
    }

    /// The cluster's name in every message.
    pub fn cluster(&self) -> ClusterId {
        let derived = self.derive("viewstone 1 cluster id", &[]);
        let half = derived.first_chunk().expect("32 bytes begin with 16");
        ClusterId::new(u128::from_le_bytes(*half))
    }

    /// With it the replicas make and check the receipts of chunks.
    pub fn receipt_key(&self) -> ReceiptKey {
        ReceiptKey::new(self.derive("viewstone 1 receipt key", &[]))
    }

    /// Under it the secrets of access keys are sealed where they are kept.
    pub fn secrets_seal(&self) -> [u8; 32] {
        self.derive("viewstone 1 seal of secrets", &[])
    }

    /// What S3 clients know a user by.
    pub fn canonical_id(&self, user: &str) -> [u8; 32] {
        self.derive("viewstone 1 canonical id of a user", user.as_bytes())
    }

    /// The seed of the Ed25519 key that signs every member's certificate.
    pub(crate) fn authority_seed(&self) -> [u8; 32] {
        self.derive("viewstone 1 certificate authority", &[])
    }

    /// Signs stateless resets. The same after a restart, so that a restarted process can tell its
    /// peers at once that their connections are gone.
    pub(crate) fn reset_seed(&self, peer: Peer) -> [u8; 32] {
        self.derive("viewstone 1 stateless reset", &peer_bytes(peer))
    }

    /// Marks the connection ids of a process as its own, before and after a restart.
    pub(crate) fn connection_id_seed(&self, peer: Peer) -> u64 {
        let derived = self.derive("viewstone 1 connection ids", &peer_bytes(peer));
        u64::from_le_bytes(*derived.first_chunk().expect("32 bytes begin with 8"))
    }

    fn derive(&self, context: &str, material: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        hasher.update(material);
        *hasher.finalize().as_bytes()
    }

    fn sum(&self) -> [u8; SUM_SIZE] {
        let derived = self.derive("viewstone 1 checksum of a cluster key", &[]);
        *derived.first_chunk().expect("32 bytes begin with 4")
    }
}

fn peer_bytes(peer: Peer) -> [u8; 17] {
    let (kind, number) = match peer {
        Peer::Replica(replica) => (1, u128::from(replica.get())),
        Peer::Client(client) => (2, client.get()),
    };
    let mut bytes = [kind; 17];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes whatever is written to it");
    }
}

impl FromStr for ClusterKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<ClusterKey, KeyError> {
        let digits = text.strip_prefix(PREFIX).ok_or(KeyError::NotAKey)?;
        if text.len() != TEXT_SIZE {
            return Err(KeyError::WrongLength(text.len()));
        }
        let (key, sum) = digits.split_once('-').ok_or(KeyError::Damaged)?;
        let key = ClusterKey(from_hex(key).ok_or(KeyError::Damaged)?);
        let sum: [u8; SUM_SIZE] = from_hex(sum).ok_or(KeyError::Damaged)?;
        if key.sum() == sum { Ok(key) } else { Err(KeyError::Damaged) }
    }
}

fn from_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

/// A key is a secret: it is not printed.
impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

/// Why there is no key. Says nothing of what was read.
#[derive(Debug)]
pub enum KeyError {
    NotAKey,
    WrongLength(usize),
    Damaged,
    /// The file's mode.
    OpenToEveryone(u32),
    NoRandomness,
    Io(io::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::NotAKey => write!(f, "a cluster key begins with {PREFIX}"),
            KeyError::WrongLength(size) => {
                write!(f, "a cluster key has {TEXT_SIZE} characters, this has {size}: was it cut off?")
            }
            KeyError::Damaged => f.write_str("the cluster key's checksum does not fit: a character is wrong"),
            KeyError::OpenToEveryone(mode) => {
                write!(f, "the file of the cluster key is open to everyone (mode {mode:03o}): chmod 600 it")
            }
            KeyError::NoRandomness => f.write_str("the operating system gave no random bytes"),
            KeyError::Io(error) => write!(f, "cannot read the cluster key: {error}"),
        }
    }
}

impl std::error::Error for KeyError {}

impl From<io::Error> for KeyError {
    fn from(error: io::Error) -> KeyError {
        KeyError::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use protocol::types::{ClientId, ReplicaId};

    use super::*;

    fn key() -> ClusterKey {
        ClusterKey::new([7; 32])
    }

    /// Every member derives the same, in every release: these values must never change.
    #[test]
    fn what_follows_from_a_key_is_fixed() {
        let hex = |bytes: &[u8]| {
            let mut text = String::new();
            push_hex(&mut text, bytes);
            text
        };
        let replica = Peer::Replica(ReplicaId::new(1));
        assert_eq!(
            [
                key().to_text(),
                hex(&key().cluster().get().to_le_bytes()),
                hex(&key().authority_seed()),
                hex(&key().reset_seed(replica)),
                hex(&key().connection_id_seed(replica).to_le_bytes()),
                hex(&key().secrets_seal()),
                hex(&key().canonical_id("alice")),
            ],
            [
                "vsk1-0707070707070707070707070707070707070707070707070707070707070707-2b54c047",
                "eb65e129e69080c50faf96451db2429c",
                "795f268df8f09b87b28fcf1e6038b54b7a77f504ffcdfdc90d0f10217777563d",
                "ae6561b4661b6933e59f039406df47474c934cb8e7186ab58660285e33a53023",
                "207f7310c4f3b670",
                "56b2ecf49c2e1f8852864189703884f51ffa62dc5fad0d3a1ffa5fda6cff9959",
                "e741b06e304c5030679a8b40b0a624cfd8977b77e8123b354deca7d5898a04c6",
            ]
            .map(String::from)
        );
    }

    #[test]
    fn a_key_survives_its_text() {
        let key = ClusterKey::generate().unwrap();
        assert_eq!(key.to_text().parse::<ClusterKey>().unwrap(), key);
        assert_ne!(key, ClusterKey::generate().unwrap());
    }

    #[test]
    fn a_key_that_was_cut_off_or_mistyped_is_recognised() {
        let text = key().to_text();
        for end in PREFIX.len()..text.len() {
            assert!(matches!(text[..end].parse::<ClusterKey>(), Err(KeyError::WrongLength(_))), "{end}");
        }
        for at in PREFIX.len()..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(matches!(wrong.parse::<ClusterKey>(), Err(KeyError::Damaged)), "{at}");
        }
        assert!(matches!("hunter2".parse::<ClusterKey>(), Err(KeyError::NotAKey)));
        assert!(matches!("vsk1-ä".parse::<ClusterKey>(), Err(KeyError::WrongLength(_))));
    }

    #[test]
    fn neither_a_key_nor_an_error_prints_a_digit_of_it() {
        assert_eq!(format!("{:?}", key()), "ClusterKey");
        let mut wrong = key().to_text();
        wrong.pop();
        let error = wrong.parse::<ClusterKey>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("0707"));
    }

    #[test]
    fn a_file_that_everybody_can_read_is_refused() {
        let path = std::env::temp_dir().join(format!("viewstone-key-{}", std::process::id()));
        key().write_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ClusterKey::read(&path).unwrap(), key());
        assert!(key().write_new(&path).is_err());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = ClusterKey::read(&path).unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(matches!(error, KeyError::OpenToEveryone(0o644)));
    }

    #[test]
    fn each_secret_is_another() {
        let client = |name| Peer::Client(ClientId::new(name));
        let replica = Peer::Replica(ReplicaId::new(1));
        let seeds = [
            key().authority_seed(),
            key().secrets_seal(),
            key().canonical_id(""),
            key().canonical_id("root"),
            key().reset_seed(replica),
            key().reset_seed(client(1)),
            key().reset_seed(client(2)),
            ClusterKey::new([8; 32]).authority_seed(),
        ];
        for (index, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..index].contains(seed));
        }
    }
}
