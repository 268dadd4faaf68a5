//! The handshake against itself, with one thing wrong at a time.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::*;

fn identity(process: u32) -> Identity {
    Identity {
        version: VERSION,
        process,
        processes: 3,
        workers: 2,
        generation: 7,
        fingerprint: 0xfeed,
        incarnation: 100 + u64::from(process),
    }
}

fn secret(byte: u8) -> Secret {
    Secret::new(&[byte; 32]).unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

type Ends = (Result<Identity, Refusal>, Result<(Identity, Purpose), Refusal>);

/// A handshake of process 2 (the initiator) with process 0.
fn shake(two: &Identity, two_secret: &Secret, zero: &Identity, zero_secret: &Secret) -> Ends {
    let (near, far) = pair();
    thread::scope(|scope| {
        let acceptor = scope.spawn(|| {
            let far = far;
            let knock = accept(&far, zero_secret, zero, soon(), || ())?;
            knock.welcome()?;
            Ok((knock.peer, knock.purpose))
        });
        let near = near;
        let initiated = initiate(&near, two_secret, two, 0, Purpose::Data, soon());
        drop(near);
        (initiated, acceptor.join().unwrap())
    })
}

fn differs<T>(end: Result<T, Refusal>) -> String {
    match end {
        Err(Refusal::Differs(_, what)) => what,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("was accepted"),
    }
}

fn dropped<T>(end: Result<T, Refusal>) -> String {
    match end {
        Err(Refusal::Dropped(what)) => what,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("was accepted"),
    }
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let (near, far) = shake(&identity(2), &secret(1), &identity(0), &secret(1));
    assert_eq!(near.unwrap(), identity(0));
    assert_eq!(far.unwrap(), (identity(2), Purpose::Data));
}

#[test]
fn another_key_proves_nothing() {
    let (near, far) = shake(&identity(2), &secret(1), &identity(0), &secret(2));
    assert_eq!(dropped(near), NO_KEY);
    dropped(far);
}

#[test]
fn both_sides_name_what_differs() {
    let mut others = [identity(2); 4];
    others[0].workers = 3;
    others[1].processes = 4;
    others[2].fingerprint = 0xbad;
    others[3].version = 9;
    let named = [
        ("2 workers per process, not 3", "3 workers per process, not 2"),
        ("3 processes, not 4", "4 processes, not 3"),
        ("000000000000feed, not 0000000000000bad", "0000000000000bad, not 000000000000feed"),
        ("version 2 of the cluster protocol", "version 9 of the cluster protocol"),
    ];
    for (other, (on_two, on_zero)) in others.iter().zip(named) {
        let (near, far) = shake(other, &secret(1), &identity(0), &secret(1));
        let (near, far) = (differs(near), differs(far));
        assert!(near.contains(on_two), "{near}");
        assert!(far.contains(on_zero), "{far}");
    }
}

#[test]
fn an_earlier_generation_yields_and_the_later_one_goes_on() {
    let earlier = Identity { generation: 6, ..identity(2) };
    let (near, far) = shake(&earlier, &secret(1), &identity(0), &secret(1));
    assert!(differs(near).contains("generation 7"));
    dropped(far);
}

#[test]
fn a_process_at_the_wrong_address_is_named() {
    let (near, far) = shake(&identity(2), &secret(1), &identity(1), &secret(1));
    assert!(differs(near).contains("is process 1, not 0"));
    assert!(differs(far).contains("dialled process 0, and this is process 1"));
}

#[test]
fn its_own_words_sent_back_do_not_let_anyone_in() {
    // The acceptor's MAC is over other roles: sent back as the initiator's it proves nothing.
    let (near, far) = pair();
    let acceptor =
        thread::spawn(move || accept(&far, &secret(1), &identity(0), soon(), || ()).map(|_| ()));
    let hello = Hello::new(Side::Initiator, Purpose::Data, &identity(2), 0).unwrap().encode();
    write_frame(&near, &hello, soon()).unwrap();
    read_frame(&near, HELLO_MAX, soon()).unwrap();
    let proof = read_frame(&near, MAC, soon()).unwrap();
    write_frame(&near, &proof, soon()).unwrap();
    assert_eq!(dropped(acceptor.join().unwrap()), NO_KEY);

    // Nor does the initiator take its own hello, or a proof of it, for an answer.
    let (near, far) = pair();
    let initiator =
        thread::spawn(move || initiate(&near, &secret(1), &identity(2), 0, Purpose::Data, soon()));
    let hello = read_frame(&far, HELLO_MAX, soon()).unwrap();
    write_frame(&far, &hello, soon()).unwrap();
    write_frame(&far, &[0; MAC], soon()).unwrap();
    assert_eq!(dropped(initiator.join().unwrap()), NO_KEY);
}

#[test]
fn a_verdict_cannot_be_forged() {
    let (near, far) = pair();
    let initiator =
        thread::spawn(move || initiate(&near, &secret(1), &identity(2), 0, Purpose::Data, soon()));
    // An honest acceptor whose verdict someone changes on the way.
    let key = secret(1);
    let knock = accept(&far, &key, &identity(0), soon(), || ()).unwrap();
    let (theirs, mine) = &knock.transcript;
    let proof = secret(1).mac(&[b"verdict", theirs, mine, &[REFUSED]]).unwrap();
    write_frame(&far, &[WELCOME], soon()).unwrap();
    write_frame(&far, &proof, soon()).unwrap();
    assert_eq!(dropped(initiator.join().unwrap()), NO_KEY);
}

#[test]
fn a_refusal_arrives_in_words_and_garbage_only_ends_its_connection() {
    let (near, far) = pair();
    let initiator = thread::spawn(move || {
        initiate(&near, &secret(1), &identity(2), 0, Purpose::Control, soon())
    });
    accept(&far, &secret(1), &identity(0), soon(), || ())
        .unwrap()
        .refuse("it is here already")
        .unwrap();
    match initiator.join().unwrap() {
        Err(Refusal::Refused(why)) => assert_eq!(why, "it is here already"),
        other => panic!("{other:?}"),
    }

    let (near, far) = pair();
    write_frame(&near, b"GET / HTTP/1.1", soon()).unwrap();
    dropped(accept(&far, &secret(1), &identity(0), soon(), || ()).map(|_| ()));

    let (near, far) = pair();
    write_frame(&near, &[0; HELLO_MAX + 1], soon()).unwrap();
    dropped(accept(&far, &secret(1), &identity(0), soon(), || ()).map(|_| ()));
}

#[test]
fn every_shortened_hello_is_refused() {
    let hello = Hello::new(Side::Initiator, Purpose::Data, &identity(2), 0).unwrap().encode();
    assert!(Heard::decode(&hello, VERSION).is_some());
    for length in 0..hello.len() {
        // Nothing of a shorter one is believed but, perhaps, that it is of another version.
        assert!(Heard::decode(&hello[..length], VERSION).is_none(), "{length}");
    }
    assert!(Heard::decode(&[hello, vec![0]].concat(), VERSION).is_none());
}
