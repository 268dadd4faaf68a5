//! Whoever has no key costs the cluster nothing: the mesh forms anyway, and works.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anabranch::cluster::Mesh;

use crate::support::{
    HELLO, PROOF, Proxy, assert_works, cluster, form, mesh, refusal, secret, until,
};

/// Two processes of which the first waits at its door; the second comes when `strangers` returns.
fn besieged<T>(strangers: impl FnOnce(&str) -> T) -> (Vec<Mesh>, T) {
    besieged_for(Duration::from_millis(500), strangers)
}

/// The same with another limit of a handshake.
fn besieged_for<T>(limit: Duration, strangers: impl FnOnce(&str) -> T) -> (Vec<Mesh>, T) {
    let (mut listeners, mut configs) = cluster(2);
    for config in &mut configs {
        config.limits.handshake = limit;
    }
    let one = listeners.pop().unwrap();
    let zero = form(listeners.pop().unwrap(), &configs[0]);
    let strangers = strangers(&configs[0].hosts[0]);
    let one = form(one, &configs[1]);
    (vec![mesh(zero), mesh(one)], strangers)
}

fn dial(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    stream
}

/// Whether the other side has ended the connection.
fn ended(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 512]) {
        Ok(read) => read == 0,
        Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn until_ended(mut stream: TcpStream) {
    until("the connection is dropped", || ended(&mut stream).then_some(()));
}

#[test]
fn garbage_ends_only_its_own_connection() {
    let (meshes, ()) = besieged(|address| {
        let garbage: [&[u8]; 6] =
            [b"GET / HTTP/1.1\r\n\r\n", &[0; 4096], &[0xff; 4096], b"\0\x01x", b"\0\0", &[0x16, 3]];
        for bytes in garbage {
            let mut stream = dial(address);
            // It may be dropped while this is still being written.
            let _ = stream.write_all(bytes);
            until_ended(stream);
        }
        // What timely's own processes would say: an index of 8 bytes.
        let mut timely = dial(address);
        timely.write_all(&1_u64.to_be_bytes()).unwrap();
        until_ended(timely);
    });
    assert!(meshes[0].refused.get() >= 7, "{}", meshes[0].refused.get());
    assert_works(meshes);
}

#[test]
fn silence_and_a_trickle_are_dropped_after_the_deadline() {
    let (meshes, ()) = besieged(|address| {
        let silent = dial(address);
        let mut slow = dial(address);
        let trickle = thread::spawn(move || {
            // The length of a whole hello, and then a byte from time to time.
            slow.write_all(&[0, 84]).unwrap();
            while slow.write_all(b"a").is_ok() && !ended(&mut slow) {
                thread::sleep(Duration::from_millis(20));
            }
        });
        until_ended(silent);
        trickle.join().unwrap();
    });
    assert_works(meshes);
}

#[test]
fn those_who_stay_silent_do_not_hold_up_the_real_process() {
    let (meshes, silent) = besieged(|address| [(); 40].map(|()| dial(address)));
    assert_works(meshes);
    drop(silent);
}

/// A thousand connections that say `words` and no more: at most `bound` of them are kept at a time.
fn thousand(words: &[u8], bound: usize) {
    // Longer than any wait of a test: nobody is dropped for being slow.
    let (meshes, kept) = besieged_for(Duration::from_secs(600), |address| {
        let mut kept = Vec::new();
        for number in 0..1000 {
            let mut stream = dial(address);
            // It may be dropped for another one before this is written.
            let _ = stream.write_all(words);
            stream.set_nonblocking(true).unwrap();
            kept.push(stream);
            // Those that are dropped already only cost descriptors.
            if number % 50 == 0 {
                kept.retain_mut(|stream| !ended(stream));
            }
        }
        until("the oldest are dropped", || {
            kept.retain_mut(|stream| !ended(stream));
            (kept.len() <= bound).then_some(())
        });
        kept
    });
    let refused = meshes[0].refused.get();
    assert!(refused >= 1000 - bound as u64, "{refused}");
    assert_works(meshes);
    drop(kept);
}

#[test]
fn a_thousand_idle_connections_are_bounded_and_the_mesh_forms() {
    thousand(b"", 256);
}

#[test]
fn a_thousand_babbling_connections_are_bounded_and_the_mesh_forms() {
    thousand(&[0, 84, b'a'], 64);
}

#[test]
fn a_process_with_another_key_stays_outside_and_is_told_why() {
    let (meshes, told) = besieged(|address| {
        let (_, mut configs) = cluster(2);
        let mut impostor = configs.pop().unwrap();
        impostor.hosts[0] = address.to_owned();
        impostor.secret = secret(2);
        impostor.limits.start = Duration::from_millis(500);
        refusal(form(TcpListener::bind("127.0.0.1:0").unwrap(), &impostor))
    });
    assert!(told.contains("it does not have this cluster's key"), "{told}");
    assert!(meshes[0].refused.get() >= 1);
    assert_works(meshes);
}

#[test]
fn a_recorded_handshake_opens_no_door_again() {
    let (mut listeners, mut configs) = cluster(3);
    let proxy = Proxy::to(&configs[0].hosts[0]);
    let address = configs[0].hosts[0].clone();
    let two = listeners.pop().unwrap();
    let one = listeners.pop().unwrap();
    let zero = form(listeners.pop().unwrap(), &configs[0]);
    configs[1].hosts[0] = proxy.address.clone();
    let one = form(one, &configs[1]);
    let recorded = until("two handshakes are recorded", || {
        Some(proxy.handshakes()).filter(|handshakes| handshakes.len() == 2)
    });

    // The same process still waits for another one, so its door is open; the same bytes come again.
    for handshake in &recorded {
        let mut again = dial(&address);
        again.write_all(&handshake.to_target[..HELLO + PROOF]).unwrap();
        let mut answer = Vec::new();
        until("the replay is dropped", || {
            let mut bytes = [0; 512];
            match again.read(&mut bytes) {
                Ok(0) => Some(()),
                Ok(read) => {
                    answer.extend_from_slice(&bytes[..read]);
                    None
                }
                Err(e) => (e.kind() == ErrorKind::ConnectionReset).then_some(()),
            }
        });
        // Its hello was answered, with a nonce that fits no old proof; no verdict followed.
        assert!(answer.len() <= HELLO + PROOF, "{}", answer.len());
    }

    // Nor does what process 0 has once said let anyone play process 0.
    let player = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut fooled = configs[1].clone();
    fooled.hosts[0] = player.local_addr().unwrap().to_string();
    fooled.limits.start = Duration::from_millis(700);
    let old = recorded[0].to_dialler.clone();
    thread::spawn(move || {
        for mut dialler in player.incoming().map_while(Result::ok) {
            let _ = dialler.write_all(&old);
            let _ = dialler.shutdown(Shutdown::Write);
        }
    });
    let told = refusal(form(TcpListener::bind("127.0.0.1:0").unwrap(), &fooled));
    assert!(told.contains("it does not have this cluster's key"), "{told}");

    let two = form(two, &configs[2]);
    let meshes = vec![mesh(zero), mesh(one), mesh(two)];
    assert!(meshes[0].refused.get() >= 2);
    assert_works(meshes);
}

#[test]
fn a_mirror_is_no_process() {
    // A process that dials its own reflection.
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, mut configs) = cluster(2);
    let mut dialler = configs.pop().unwrap();
    dialler.hosts[0] = mirror.local_addr().unwrap().to_string();
    dialler.limits.start = Duration::from_millis(700);
    thread::spawn(move || {
        for stream in mirror.incoming().map_while(Result::ok) {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream).unwrap_or_default());
        }
    });
    let told = refusal(form(TcpListener::bind("127.0.0.1:0").unwrap(), &dialler));
    assert!(told.contains("missing: process 0"), "{told}");

    // A stranger that lets the process at the door answer itself, over two connections.
    let (meshes, ()) = besieged(|address| {
        let (mut a, mut b) = (dial(address), dial(address));
        let hello = [&[0, 84][..], b"anabrnch", &[0, 2], &[0; 74]].concat();
        a.write_all(&hello).unwrap();
        a.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = vec![0; HELLO + PROOF];
        a.read_exact(&mut answer).unwrap();
        b.write_all(&answer[..HELLO]).unwrap();
        b.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut proof = vec![0; HELLO + PROOF];
        b.read_exact(&mut proof).unwrap();
        a.write_all(&proof[HELLO..]).unwrap();
        b.write_all(&answer[HELLO..]).unwrap();
        until_ended(a);
        until_ended(b);
    });
    assert!(meshes[0].refused.get() >= 2);
    assert_works(meshes);
}
