//! Checkpoints in a real S3 server, moto's.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::model::{PARTITIONS, Run, Step, model_of, random_steps};
use crate::checkpoint::{Manifest, Store, newest};

const NAME: &str = "checkpoint::tests::s3::checkpoints_are_kept_in_a_bucket";
const SERVER: &str = "
import sys, boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
url = 'http://%s:%s' % server.get_host_and_port()
boto3.client('s3', endpoint_url=url, region_name='us-east-1', aws_access_key_id='id',
             aws_secret_access_key='key').create_bucket(Bucket='bucket')
print(url, flush=True)
sys.stdin.read()
";

/// Credentials and the server's address come from the environment, which a process must not change
/// while it has threads: so this test starts itself with another.
#[test]
fn checkpoints_are_kept_in_a_bucket() {
    if std::env::var_os("ANABRANCH_TEST_S3").is_some() {
        return in_the_bucket();
    }
    let found = Command::new("python3").args(["-c", "import boto3, flask, moto.server"]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        println!("skipped: python3 has no moto[server,s3]: see scripts/requirements-s3.txt");
        return;
    }
    let mut server = Command::new("python3")
        .args(["-c", SERVER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("ANABRANCH_TEST_S3", "1")
        .env("AWS_ENDPOINT", url.trim())
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "key")
        .env("AWS_REGION", "us-east-1")
        .output()
        .unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

fn in_the_bucket() {
    let store = Store::open("s3://bucket/some/where").unwrap();
    assert!(store.list("tables").unwrap().is_empty());
    assert_eq!(store.get("a/b", 9).unwrap(), None);
    assert!(store.put_if_absent("a/b", b"one").unwrap());
    assert!(!store.put_if_absent("a/b", b"two").unwrap());
    assert_eq!(store.get("a/b", 9).unwrap().unwrap(), b"one");
    assert!(store.get("a/b", 2).is_err());
    store.put("a/b", b"three").unwrap();
    assert_eq!(store.list("a").unwrap()[0].bytes, 5);
    store.delete("a/b").unwrap();
    store.delete("a/b").unwrap();
    assert!(store.list("a").unwrap().is_empty());

    let mut run = Run::new(&store, 1, None);
    for step in random_steps(4, 60) {
        run.step(step).unwrap();
    }
    run.step(Step::Checkpoint { workers: 2 }).unwrap();
    let restored = newest(&Store::open("s3://bucket/some/where/").unwrap(), |_| true);
    assert_eq!(model_of(&restored.unwrap().unwrap(), 0..PARTITIONS), run.at_last);
    assert_eq!(Manifest::list(&store).unwrap().len(), 2);
    assert!(Store::open("s3://bucket/else").unwrap().list("manifests").unwrap().is_empty());
    let missing = Store::open("s3://nowhere/x").unwrap().put("a/b", b"").unwrap_err().to_string();
    assert!(missing.contains("cannot write s3://nowhere/x/a/b"), "{missing}");
}
