//! `verify` and `diff` as typed: what they print, and what they end with.
//!
//! Invariant: what differs is known beforehand, because the input was edited by hand.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::programs;
use crate::run::{ended, program};
use crate::support::Folder;

/// A program like `word-count` that reads `old` where it is told to read `new`: as if it had been edited.
fn edited(folder: &Folder) -> String {
    let name = folder.name("word-count-before");
    let program = programs::path("word-count");
    let script = format!(
        "#!/bin/sh\nexec {} $(printf '%s\\n' \"$@\" | sed 's/new.txt/old.txt/')\n",
        program.display()
    );
    std::fs::write(&name, script).unwrap();
    std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o700)).unwrap();
    name
}

#[test]
fn diff_shows_which_outputs_appear_disappear_or_change() {
    let folder = Folder::new();
    std::fs::write(folder.path("old.txt"), "a b\nc d\nz z\n").unwrap();
    std::fs::write(folder.path("new.txt"), "a x\nc d d\nz\n").unwrap();
    let text = format!("file:{}", folder.name("new.txt"));
    let out = format!("file:{}", folder.name("out"));
    let data = folder.name("data");
    let common = ["--text", &text, "--counts", &out, "--data-dir", &data];
    let ran = ended(&mut program("word-count", common));
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let before = std::fs::read(folder.path("out")).unwrap();

    let against = |other: &str, more: &[&str]| {
        let arguments = [&["diff", "--against", other], &common[..], more].concat();
        ended(&mut program("word-count", arguments))
    };
    let edited = edited(&folder);
    for layout in [&["-w", "1"][..], &["-w", "3"]] {
        let found = against(&edited, layout);
        assert_eq!(found.code, Some(1), "{}", found.errors);
        let wanted = "< counts  text-0-0.1  b 1\n> counts  text-0-0.1  x 1\n\
                      + counts  text-0-1.2  d 2\n- counts  text-0-2.1  z 2\n\
                      4 outputs are the same, 1 appear, 1 disappear, 1 change\n";
        assert_eq!(found.output, wanted, "{}", found.errors);
    }
    let itself = programs::path("word-count");
    let same = against(itself.to_str().unwrap(), &[]);
    assert_eq!(same.code, Some(0), "{}", same.errors);
    assert_eq!(same.output, "6 outputs are the same, 0 appear, 0 disappear, 0 change\n");
    // Nothing that is live was touched.
    assert_eq!(std::fs::read(folder.path("out")).unwrap(), before);

    for (other, wanted) in
        [("/nowhere/program", "does not start"), ("/bin/false", "ended before its replay did")]
    {
        let refused = against(other, &[]);
        assert!(refused.code.is_some_and(|code| code > 0), "{other}");
        assert!(refused.errors.contains(wanted), "{other}: {}", refused.errors);
        assert!(refused.errors.contains(other), "{}", refused.errors);
    }
}

#[test]
fn verify_says_what_is_the_same_and_what_is_not() {
    let folder = Folder::new();
    let mut text = String::new();
    (0..200_000).for_each(|i| writeln!(text, "w{} of {}", i % 1_000, i % 7).unwrap());
    std::fs::write(folder.path("text"), &text).unwrap();
    let url = format!("file:{}", folder.name("text"));
    let out = format!("file:{}", folder.name("out"));
    let data = folder.name("data");
    let common = ["--text", &url, "--counts", &out, "--data-dir", &data];
    let run =
        [&common[..], &["--checkpoint-interval", "10ms", "--keep-journal", "forever"]].concat();
    let ran = ended(&mut program("word-count", run));
    assert_eq!(ran.code, Some(0), "{}", ran.errors);

    let verify = || ended(&mut program("word-count", [&["verify"], &common[..]].concat()));
    let found = verify();
    assert_eq!(found.code, Some(0), "{}", found.errors);
    let output = &found.output;
    assert!(output.starts_with("the same on 1, 2 and 4 workers: "), "{output}");
    assert!(output.contains(" 600000 released records; and as recorded in "), "{output}");

    // The file is another one, before the first checkpoint.
    std::fs::write(folder.path("text"), text.replacen("w3 of 3", "w4 of 3", 1)).unwrap();
    let found = verify();
    assert_eq!(found.code, Some(1), "{}", found.errors);
    let lines: Vec<&str> = found.output.lines().collect();
    assert!(lines[0].starts_with("different in what was recorded by checkpoint "), "{lines:?}");
    assert!(lines[0].ends_with(", table `counts`, key \"w3\""), "{lines:?}");
    let count = |line: &str, who: &str| {
        let number = line.trim().strip_prefix(who).unwrap_or_else(|| panic!("{lines:?}"));
        number.trim().parse::<u64>().unwrap()
    };
    assert_eq!(count(lines[1], "recorded"), count(lines[2], "replayed") + 1, "{lines:?}");
}
