//! A directory as one small text, for fixtures that are kept in the repository.
//!
//! A store's files are mostly zeros and repeated JSON. Lines are `dir PATH`, `file PATH`, and after a file
//! its bytes: hexadecimal pieces, and pieces `BACK*LENGTH` for bytes that stood so far back already.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A shorter repetition is not worth a piece of its own.
const REPEAT_MIN: usize = 8;

/// Bytes by which repetitions are found.
const KEY_BYTES: usize = 6;

/// Columns after which a line ends.
const COLUMNS: usize = 100;

/// The text of all that is below `dir`.
pub(crate) fn pack(dir: &Path) -> String {
    let mut text = String::new();
    pack_below(dir, "", &mut text);
    text
}

fn pack_below(dir: &Path, prefix: &str, text: &mut String) {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let name = format!("{prefix}{}", name.to_str().unwrap());
        if path.is_dir() {
            writeln!(text, "dir {name}").unwrap();
            pack_below(&path, &format!("{name}/"), text);
        } else {
            writeln!(text, "file {name}").unwrap();
            pack_bytes(&fs::read(path).unwrap(), text);
        }
    }
}

fn pack_bytes(bytes: &[u8], text: &mut String) {
    let mut seen = HashMap::new();
    let mut line = String::new();
    let (mut at, mut is_open) = (0, false);
    while at < bytes.len() {
        let (back, length) = repeated(bytes, at, &seen);
        let taken = if length < REPEAT_MIN { 1 } else { length };
        let goes_on = line.is_empty() || (is_open && taken == 1);
        is_open = taken == 1;
        if !goes_on {
            line.push(' ');
        }
        line.push_str(&if is_open { format!("{:02x}", bytes[at]) } else { format!("{back}*{length}") });
        for start in at..at + taken {
            bytes.get(start..start + KEY_BYTES).map(|key| seen.insert(key, start));
        }
        at += taken;
        if line.len() >= COLUMNS || at == bytes.len() {
            writeln!(text, "{line}").unwrap();
            line.clear();
        }
    }
}

/// How far back the bytes that begin at `at` were seen last, and how many are the same.
fn repeated(bytes: &[u8], at: usize, seen: &HashMap<&[u8], usize>) -> (usize, usize) {
    let Some(start) = bytes.get(at..at + KEY_BYTES).and_then(|key| seen.get(key)) else { return (0, 0) };
    let same = bytes[at..].iter().zip(&bytes[*start..]).take_while(|(one, other)| one == other);
    (at - start, same.count())
}

/// Makes the directory that [`pack`] has seen.
pub(crate) fn unpack(text: &str, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let mut files = BTreeMap::<&str, Vec<u8>>::new();
    let mut file = "";
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("dir ") {
            fs::create_dir_all(dir.join(path)).unwrap();
        } else if let Some(path) = line.strip_prefix("file ") {
            file = path;
        } else {
            let bytes = files.entry(file).or_default();
            line.split(' ').for_each(|piece| unpack_piece(piece, bytes));
        }
    }
    for (path, bytes) in files {
        fs::write(dir.join(path), bytes).unwrap();
    }
}

fn unpack_piece(piece: &str, bytes: &mut Vec<u8>) {
    if let Some((back, length)) = piece.split_once('*') {
        let (back, length): (usize, usize) = (back.parse().unwrap(), length.parse().unwrap());
        // The copy may reach into itself: that is how a run is written.
        (0..length).for_each(|_| bytes.push(bytes[bytes.len() - back]));
    } else {
        let hex = |at| u8::from_str_radix(&piece[at..at + 2], 16).unwrap();
        bytes.extend((0..piece.len()).step_by(2).map(hex));
    }
}
