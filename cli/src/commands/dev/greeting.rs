//! What `viewstone dev` says to whoever started it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use protocol::types::ReplicaId;

use super::place::KEY_NAME;
use crate::settings::{Cluster, S3};
use crate::status::size;

/// What there is to say beside the addresses.
pub(super) struct Facts<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) s3: &'a S3,
    /// As a shell is told.
    pub(super) secret: &'a str,
    /// Its name, or the bytes of memory.
    pub(super) kept: Kept<'a>,
    pub(super) replaced: &'a [ReplicaId],
}

#[derive(Clone, Copy)]
pub(super) enum Kept<'a> {
    In(&'a std::path::Path),
    InMemory(u64),
}

pub(super) fn greeting(facts: &Facts<'_>) -> String {
    let S3 { listen, access_key, region, .. } = facts.s3;
    let endpoint = endpoint(listen[0]);
    let secret = facts.secret;
    let replicas = match facts.cluster.peers.len() {
        1 => "1 replica".to_owned(),
        count => format!("{count} replicas"),
    };
    let kept = match facts.kept {
        Kept::In(dir) => format!("{replicas} in {}", dir.display()),
        Kept::InMemory(bytes) => {
            format!("{replicas} in up to {} of memory. IT FORGETS EVERYTHING when it stops", size(bytes))
        }
    };
    let mut news = String::new();
    for id in facts.replaced {
        news.push_str(&format!(
            "  The data of replica {id} was gone. It has an empty disk now, and is filled from the others.\n"
        ));
    }
    let ending = match facts.kept {
        Kept::In(_) => "Ctrl-C stops it; what was acknowledged stays.",
        Kept::InMemory(_) => "Ctrl-C stops it, and nothing stays.",
    };
    format!(
        "
  Viewstone: {kept}
  S3 at {endpoint}   access key {access_key}   secret key {secret}
{news}
  first     export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={region}
  aws cli   aws --endpoint-url {endpoint} s3 mb s3://demo
            aws --endpoint-url {endpoint} s3 cp README.md s3://demo/
  rclone    rclone lsd \":s3,provider=Other,endpoint='{endpoint}',access_key_id=$AWS_ACCESS_KEY_ID,secret_access_key='$AWS_SECRET_ACCESS_KEY':\"
  boto3     python3 -c \"import boto3; print(boto3.client('s3', endpoint_url='{endpoint}').list_buckets()['Buckets'])\"
  status    {status}

  {ending}

",
        status = status(facts),
    )
}

/// As this program was called: it may not be where the shell looks.
fn status(facts: &Facts<'_>) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "viewstone".to_owned());
    let peers = facts.cluster.peers.join(",");
    match facts.kept {
        Kept::In(dir) => {
            format!("{program} status --peers {peers} --cluster-key-file {}", dir.join(KEY_NAME).display())
        }
        // There is no file. The key is worth as much as the cluster, which ends with this process.
        Kept::InMemory(_) => {
            format!("VIEWSTONE_CLUSTER_KEY={} {program} status --peers {peers}", facts.cluster.key.to_text())
        }
    }
}

/// A URL for clients on this machine.
fn endpoint(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}
