//! Who a process is, and the certificate that says so.
//!
//! Every process mints its own certificate when it needs one: the authority's key follows from the
//! cluster's, so there is nothing to enrol and nothing to copy about. A certificate is good for a week
//! from now and for a day before now, which tolerates clocks that differ by a day.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use protocol::types::{ClientId, Peer, REPLICAS_MAX, ReplicaId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber,
};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::key::ClusterKey;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// By so much may two clocks differ.
const SKEW_MAX: Duration = DAY;
/// How long a new certificate is good for.
const VALIDITY: Duration = DAY.saturating_mul(7);
/// A certificate that is older is not shown any more: the other clock may be a day ahead, and by the
/// time of the next handshake it must still be good.
const RENEWAL: Duration = DAY;

/// The end of every name in a certificate.
const DOMAIN: &str = ".viewstone";

/// What is dialled, and what a certificate carries: `replica-1.viewstone`, `client-<32 digits>.viewstone`.
pub(crate) fn name_of(peer: Peer) -> String {
    match peer {
        Peer::Replica(replica) => format!("replica-{}{DOMAIN}", replica.get()),
        Peer::Client(client) => format!("client-{:032x}{DOMAIN}", client.get()),
    }
}

/// Reads only what `name_of` writes.
fn peer_of_name(name: &str) -> Option<Peer> {
    let label = name.strip_suffix(DOMAIN)?;
    let peer = if let Some(number) = label.strip_prefix("replica-") {
        Peer::Replica(ReplicaId::new(number.parse().ok()?))
    } else {
        let digits = label.strip_prefix("client-")?;
        Peer::Client(ClientId::new(u128::from_str_radix(digits, 16).ok()?))
    };
    let known = match peer {
        Peer::Replica(replica) => replica.index() < REPLICAS_MAX,
        Peer::Client(_) => true,
    };
    (known && name_of(peer) == name).then_some(peer)
}

/// Whose certificate it is: it has exactly one name, and that is one of ours.
pub(crate) fn peer_of_certificate(certificate: &CertificateDer<'_>) -> Option<Peer> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    let name = names.next()?;
    if names.next().is_some() {
        return None;
    }
    peer_of_name(name)
}

/// Signs the certificates of a cluster's members. Each member has it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Authority {
    /// The same for everybody who has the key.
    pub(crate) fn new(key: &ClusterKey, provider: Arc<CryptoProvider>) -> Result<Authority, rcgen::Error> {
        let pkcs8 = ed25519_pkcs8(&key.authority_seed());
        let signer = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ED25519)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "viewstone cluster");
        params.serial_number = Some(SerialNumber::from(1_u64));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&signer)?.der().clone();
        Ok(Authority { issuer: Issuer::new(params, signer), certificate, provider })
    }

    /// What a certificate must lead to.
    pub(crate) fn roots(&self) -> Result<Arc<RootCertStore>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Ok(Arc::new(roots))
    }

    /// A fresh key and a certificate for it, good from a day before `now`.
    pub(crate) fn mint(&self, peer: Peer, now: SystemTime) -> Result<Arc<CertifiedKey>, MintError> {
        let mut params = CertificateParams::new([name_of(peer)])?;
        params.distinguished_name = DistinguishedName::new();
        params.not_before = (now - SKEW_MAX).into();
        params.not_after = (now + VALIDITY).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match peer {
            Peer::Replica(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            // Nobody dials a client: its certificate must not pass for a server's.
            Peer::Client(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &self.provider)?))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// A private key in the form of RFC 8410, which is a fixed prefix and the seed.
fn ed25519_pkcs8(seed: &[u8; 32]) -> PrivatePkcs8KeyDer<'static> {
    const PREFIX: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    PrivatePkcs8KeyDer::from([PREFIX.as_slice(), seed].concat())
}

/// Why no certificate could be made.
#[derive(Debug)]
pub(crate) enum MintError {
    Certificate(rcgen::Error),
    Key(rustls::Error),
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MintError::Certificate(error) => write!(f, "{error}"),
            MintError::Key(error) => write!(f, "{error}"),
        }
    }
}

impl From<rcgen::Error> for MintError {
    fn from(error: rcgen::Error) -> MintError {
        MintError::Certificate(error)
    }
}

impl From<rustls::Error> for MintError {
    fn from(error: rustls::Error) -> MintError {
        MintError::Key(error)
    }
}

/// What time it is, to certificates. Tests have another.
pub(crate) type Clock = fn() -> SystemTime;

/// The certificate that this process shows. Made anew at the first handshake that would show an old
/// one, so that nothing has to run in the background and no connection is disturbed.
pub(crate) struct OwnCertificate {
    authority: Authority,
    peer: Peer,
    clock: Clock,
    current: Mutex<(SystemTime, Arc<CertifiedKey>)>,
}

impl OwnCertificate {
    pub(crate) fn new(authority: Authority, peer: Peer, clock: Clock) -> Result<OwnCertificate, MintError> {
        let now = clock();
        let current = Mutex::new((now, authority.mint(peer, now)?));
        Ok(OwnCertificate { authority, peer, clock, current })
    }

    pub(crate) fn current(&self) -> Arc<CertifiedKey> {
        let now = (self.clock)();
        let mut current = self.current.lock().expect("nothing panics while it holds the certificate");
        // The clock may have been set back since: then the certificate may be one of the future.
        let age = now.duration_since(current.0);
        if age.is_err() || age.is_ok_and(|age| age > RENEWAL) {
            match self.authority.mint(self.peer, now) {
                Ok(fresh) => *current = (now, fresh),
                Err(error) => tracing::error!(%error, "no new certificate: showing the old one"),
            }
        }
        Arc::clone(&current.1)
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnCertificate of {:?}", self.peer)
    }
}

impl rustls::server::ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl rustls::client::ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::tls;

    fn own(clock: Clock) -> OwnCertificate {
        let authority = Authority::new(&ClusterKey::new([1; 32]), tls::provider()).unwrap();
        OwnCertificate::new(authority, Peer::Replica(ReplicaId::new(2)), clock).unwrap()
    }

    #[test]
    fn a_name_is_read_only_if_it_is_the_name_of_somebody() {
        let peers = (0..7).map(|number| Peer::Replica(ReplicaId::new(number)));
        for peer in peers.chain([0, 1, u128::MAX].map(|name| Peer::Client(ClientId::new(name)))) {
            assert_eq!(peer_of_name(&name_of(peer)), Some(peer));
        }
        for name in [
            "",
            ".viewstone",
            "replica-7.viewstone",
            "replica-01.viewstone",
            "replica-+1.viewstone",
            "replica--1.viewstone",
            "replica-1.viewstone.example",
            "client-1.viewstone",
            "client-000000000000000000000000000000AB.viewstone",
            "*.viewstone",
        ] {
            assert_eq!(peer_of_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_certificate_names_its_owner_and_everybody_derives_the_same_authority() {
        let certificate = own(SystemTime::now).current();
        let peer = peer_of_certificate(&certificate.cert[0]);
        assert_eq!(peer, Some(Peer::Replica(ReplicaId::new(2))));

        let authority =
            |byte| Authority::new(&ClusterKey::new([byte; 32]), tls::provider()).unwrap().certificate;
        assert_eq!(authority(1), authority(1));
        assert_ne!(authority(1), authority(2));
        assert_eq!(peer_of_certificate(&authority(1)), None);
    }

    /// A process that runs for months shows a fresh certificate every day, and one whose clock was set
    /// back does not show one of the future.
    #[test]
    fn an_old_certificate_is_replaced_and_a_new_one_is_not() {
        static NOW: AtomicU64 = AtomicU64::new(0);
        fn clock() -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.load(Ordering::Relaxed))
        }
        let day = DAY.as_secs();
        let (start, hour) = (20_000 * day, 60 * 60);
        NOW.store(start, Ordering::Relaxed);
        let own = own(clock);
        let first = own.current();

        let changes =
            [(start + 23 * hour, false), (start + day + hour, true), (start + day, true), (start, true)];
        let mut shown = first;
        for (now, changed) in changes {
            NOW.store(now, Ordering::Relaxed);
            let next = own.current();
            assert_eq!(!Arc::ptr_eq(&shown, &next), changed, "{now}");
            shown = next;
        }
    }
}
