//! Inputs that are nearly right: a seed with some of its lines, words, numbers, brackets, lengths or
//! bytes changed.

use super::Form;

/// Xorshift (Marsaglia's 64 bit form): the same numbers everywhere for one seed.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        // Neighbours shall have nothing in common (the finalizer of splitmix64), and zero has no next.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rng((z ^ (z >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A piece of something of that length, mostly short.
    fn piece(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length - start } else { 16.min(length - start) };
        start..start + self.below(most + 1)
    }
}

/// No input is longer: a parser that is slow on more is shown by its own tests.
const MOST: usize = 256 << 10;

const WORDS: [&str; 44] = [
    "",
    "0",
    "1",
    "-1",
    "+1",
    "00",
    "007",
    "0x",
    "0xffffffffffffffff",
    "127",
    "128",
    "255",
    "256",
    "4095",
    "4096",
    "32768",
    "65535",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
    "1e309",
    "0.5",
    "NaN",
    "null",
    "true",
    "\"\"",
    "\u{0}",
    "é",
    "\u{2028}",
    "\u{feff}",
    "日本",
    "..",
    "/",
    "*",
    "%s",
    "a=b",
    "0-65535",
    "::",
];
const OPEN: [&str; 12] =
    ["[", "{", "(", "{\"a\":", "[[", "- ", "  ", "a: {", "${", "\"", "<", "&a [*a,"];
const MARKS: &[u8] = b"=:,;[]{}()\"'#\\/|<>*?%$&!@-+. \t\r\n\0";

/// The input of one run.
pub fn mutate(rng: &mut Rng, seeds: &[Vec<u8>], form: Form) -> Vec<u8> {
    let mut bytes = rng.pick(seeds).clone();
    let times = 1 + if rng.below(3) == 0 { rng.below(12) } else { rng.below(3) };
    for _ in 0..times {
        match (form != Form::Text, rng.below(10)) {
            (_, 0 | 1) => change_bytes(rng, &mut bytes),
            (true, 2..=6) => change_numbers(rng, &mut bytes),
            (true, _) => change_blocks(rng, &mut bytes, seeds),
            (false, 2..=4) => change_lines(rng, &mut bytes, seeds),
            (false, 5..=8) => change_words(rng, &mut bytes, seeds),
            (false, _) => nest(rng, &mut bytes),
        }
        bytes.truncate(MOST);
    }
    bytes
}

fn change_bytes(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.below(bytes.len());
    match rng.below(6) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
        2 if !bytes.is_empty() => drop(bytes.remove(at)),
        3 => bytes.truncate(at),
        4 => bytes.insert(at, *rng.pick(MARKS)),
        _ => bytes.insert(at, rng.next() as u8),
    }
}

fn change_lines(rng: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let split = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    };
    let mut lines = split(bytes);
    if lines.is_empty() {
        lines.push(Vec::new());
    }
    let at = rng.below(lines.len());
    match rng.below(8) {
        0 | 1 => drop(lines.remove(at)),
        2 => lines.insert(at, lines[at].clone()),
        3 => {
            let other = rng.below(lines.len());
            lines.swap(at, other);
        }
        4 | 5 => {
            let others = split(rng.pick::<Vec<u8>>(seeds));
            let piece = rng.piece(others.len());
            drop(lines.splice(at..at, others[piece].iter().cloned()));
        }
        6 if rng.below(40) == 0 => {
            let line = lines[at].clone();
            let times = rng.below(4000).min(MOST / line.len().max(1));
            drop(lines.splice(at..at, std::iter::repeat_n(line, times)));
        }
        6 => {
            let line = &mut lines[at];
            let end = if line.ends_with(b"\n") { line.len() - 1 } else { line.len() };
            drop(line.splice(end..end, rng.pick(&["\r", "\\", " #x", ";"]).bytes()));
        }
        _ => {
            let tail = rng.below(lines[at].len());
            lines[at].truncate(tail);
        }
    }
    *bytes = lines.concat();
}

/// Where a run of letters, digits and what belongs to a name is; else nothing at a random place.
fn word(rng: &mut Rng, bytes: &[u8]) -> std::ops::Range<usize> {
    let part = |b: &u8| b.is_ascii_alphanumeric() || b"_.-".contains(b) || !b.is_ascii();
    let at = rng.below(bytes.len() + 1);
    let length = |text: &mut dyn Iterator<Item = &u8>| text.take_while(|b| part(b)).count();
    let before = length(&mut bytes[..at].iter().rev());
    at - before..at + length(&mut bytes[at..].iter())
}

fn change_words(rng: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let old = word(rng, bytes);
    let new = match rng.below(8) {
        0..=3 => rng.pick(&WORDS).as_bytes().to_vec(),
        4 | 5 => {
            let seed = rng.pick(seeds);
            seed[word(rng, seed)].to_vec()
        }
        6 => {
            let times = if rng.below(20) == 0 { rng.below(20_000) } else { rng.below(80) };
            bytes[old.clone()].repeat(times.min(MOST / old.len().max(1)))
        }
        _ => rng.next().to_string().into_bytes(),
    };
    drop(bytes.splice(old, new));
}

fn nest(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.below(bytes.len() + 1);
    let times = if rng.below(20) == 0 { rng.below(10_000) } else { rng.below(20) };
    let open = rng.pick(&OPEN).repeat(times);
    drop(bytes.splice(at..at, open.into_bytes()));
}

/// A length or an offset, in either byte order.
fn change_numbers(rng: &mut Rng, bytes: &mut [u8]) {
    let width = *rng.pick(&[1, 2, 2, 4, 4, 8]);
    let Some(places) = bytes.len().checked_sub(width) else { return };
    let at = rng.below(places + 1);
    let at = if rng.below(4) == 0 { at } else { at / width * width };
    let old = bytes[at..at + width].iter().rev().fold(0, |n: u64, b| n << 8 | u64::from(*b));
    let near = *rng.pick(&[1, 2, 3, 4, 8, 16]);
    let new = match rng.below(6) {
        0 => old.wrapping_add(near),
        1 => old.wrapping_sub(near),
        2 => u64::MAX >> rng.below(64),
        3 => rng.below(bytes.len() + 8) as u64,
        4 => rng.below(40) as u64,
        _ => 1 << rng.below(64),
    };
    let mut part = new.to_le_bytes()[..width].to_vec();
    if rng.below(4) == 0 {
        part.reverse();
    }
    bytes[at..at + width].copy_from_slice(&part);
}

fn change_blocks(rng: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let aligned = |piece: std::ops::Range<usize>| piece.start / 4 * 4..piece.end / 4 * 4;
    let piece = aligned(rng.piece(bytes.len()));
    match rng.below(4) {
        0 => drop(bytes.drain(piece)),
        1 => drop(bytes.splice(piece.start..piece.start, bytes[piece.clone()].to_vec())),
        2 => bytes[piece].fill(0),
        _ => {
            let seed = rng.pick(seeds);
            let from = aligned(rng.piece(seed.len()));
            drop(bytes.splice(piece, seed[from].iter().copied()));
        }
    }
}
