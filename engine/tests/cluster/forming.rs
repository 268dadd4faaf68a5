//! Processes that belong together find each other; those that differ say how.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anabranch::cluster::{Drain, Failures, Mesh};

use crate::support::{Proxy, assert_works, cluster, form, mesh, refusal, until};

#[test]
fn two_processes_exchange_records() {
    let (listeners, configs) = cluster(2);
    let forming: Vec<_> = listeners.into_iter().zip(&configs).map(|(l, c)| form(l, c)).collect();
    assert_works(forming.into_iter().map(mesh).collect());
}

#[test]
fn three_processes_exchange_records_whoever_comes_first() {
    let (listeners, configs) = cluster(3);
    // The last index first: it dials processes that do not look at their door yet.
    let mut pairs: Vec<_> = listeners.into_iter().zip(&configs).collect();
    pairs.reverse();
    let mut forming: Vec<_> = pairs.into_iter().map(|(l, c)| form(l, c)).collect();
    forming.reverse();
    assert_works(forming.into_iter().map(mesh).collect());
}

#[test]
fn a_formed_cluster_listens_no_more() {
    let (listeners, configs) = cluster(2);
    let forming: Vec<_> = listeners.into_iter().zip(&configs).map(|(l, c)| form(l, c)).collect();
    let meshes: Vec<_> = forming.into_iter().map(mesh).collect();
    for host in &configs[0].hosts {
        let refused = TcpStream::connect(host).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    assert_works(meshes);
}

#[test]
fn different_workers_are_named_by_every_process() {
    let (mut listeners, mut configs) = cluster(3);
    configs[2].workers = 3;
    let (two, one, zero) =
        (listeners.pop().unwrap(), listeners.pop().unwrap(), listeners.pop().unwrap());
    // The first two have met before the third comes; each of them hears of it, one way or another.
    let proxy = Proxy::to(&configs[0].hosts[0]);
    configs[1].hosts[0] = proxy.address.clone();
    let (zero, one) = (form(zero, &configs[0]), form(one, &configs[1]));
    until("the first two have met", || (proxy.handshakes().len() == 2).then_some(()));
    let two = form(two, &configs[2]);
    for forming in [zero, one, two] {
        let refused = refusal(forming);
        assert!(
            refused.contains("3 workers per process, not 2")
                || refused.contains("2 workers per process, not 3"),
            "{refused}"
        );
    }
}

#[test]
fn different_applications_are_named_on_both_sides() {
    let (listeners, mut configs) = cluster(2);
    configs[1].fingerprint = 0xbad;
    let forming: Vec<_> = listeners.into_iter().zip(&configs).map(|(l, c)| form(l, c)).collect();
    for forming in forming {
        let refused = refusal(forming);
        assert!(refused.contains("another application or other options"), "{refused}");
        assert!(refused.contains("000000000000feed"), "{refused}");
    }
}

#[test]
fn different_numbers_of_processes_are_named() {
    let (mut listeners, configs) = cluster(3);
    let mut fewer = configs[1].clone();
    fewer.hosts.pop();
    listeners.pop();
    let one = form(listeners.pop().unwrap(), &fewer);
    let zero = form(listeners.pop().unwrap(), &configs[0]);
    let (zero, one) = (refusal(zero), refusal(one));
    assert!(zero.contains("2 processes, not 3"), "{zero}");
    assert!(one.contains("3 processes, not 2"), "{one}");
}

#[test]
fn a_process_that_does_not_come_is_named() {
    let (mut listeners, mut configs) = cluster(3);
    drop(listeners.pop());
    for config in &mut configs {
        config.limits.start = Duration::from_millis(700);
    }
    let two = configs[2].hosts[2].clone();
    let forming: Vec<_> = listeners.into_iter().zip(&configs).map(|(l, c)| form(l, c)).collect();
    for forming in forming {
        let refused = refusal(forming);
        assert!(refused.contains(&format!("missing: process 2 ({two})")), "{refused}");
    }
}

#[test]
fn one_of_two_processes_with_the_same_index_is_told_and_the_other_stays() {
    let (mut listeners, configs) = cluster(3);
    drop(listeners.pop());
    let one = listeners.pop().unwrap();
    let zero = listeners.pop().unwrap();
    let also_one = TcpListener::bind("127.0.0.1:0").unwrap();
    let drains = [(); 3].map(|()| Drain::default());
    let mut forming: Vec<_> = [(zero, 0), (one, 1), (also_one, 1)]
        .into_iter()
        .zip(&drains)
        .map(|((listener, process), drain)| {
            let (config, drain) = (configs[process].clone(), drain.clone());
            thread::spawn(move || Mesh::form_on(listener, &config, &drain, &Failures::default()))
        })
        .collect();
    let told = until("one is told", || forming.iter().position(|forming| forming.is_finished()));
    assert_ne!(told, 0);
    let refused = refusal(forming.remove(told));
    assert!(refused.contains("has process 1 already"), "{refused}");
    // The other two wait for the third process, unharmed, until they are asked not to.
    drains.iter().for_each(Drain::request);
    for waiting in forming {
        assert!(waiting.join().unwrap().unwrap().is_none());
    }
}

#[test]
fn a_drain_before_the_cluster_begins_leaves_nothing_to_do() {
    let (mut listeners, configs) = cluster(3);
    let one = listeners.remove(1);
    let (drain, failures) = (Drain::default(), Failures::default());
    let (config, asked, failing) = (configs[1].clone(), drain.clone(), failures.clone());
    let forming = thread::spawn(move || Mesh::form_on(one, &config, &asked, &failing));
    // It dials process 0, which does not answer.
    let (_silent, _) = listeners[0].accept().unwrap();
    drain.request();
    assert!(forming.join().unwrap().unwrap().is_none());
    assert_eq!(failures.first(), None);
}
