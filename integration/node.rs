//! The receiver's usual code, in Node: it re-serialises what it parsed and compares signatures.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockgate::logic::{ecmascript, signing};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How many random documents a run signs.
const DOCUMENTS: usize = 2_000;
/// The secret on both sides; not ASCII on purpose.
const SECRET: &str = "päss wörd";

/// What a receiver of the platform's webhooks does, for each line of standard input.
const RECEIVER: &str = r"
const crypto = require('crypto');
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean);
let good = 0;
for (const line of lines) {
  const [body, signature] = line.split(' ');
  const payload = JSON.parse(Buffer.from(body, 'base64').toString('utf8'));
  const hmac = crypto.createHmac('sha256', process.argv[1]);
  const digest = 'sha256=' + hmac.update(JSON.stringify(payload)).digest('hex');
  if (crypto.timingSafeEqual(Buffer.from(signature), Buffer.from(digest))) good += 1;
  else console.error('differs: ' + JSON.stringify(payload));
}
console.log(good);
";

#[test]
fn node_verifies_the_signature_of_random_documents() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut lines = String::new();
    for _ in 0..DOCUMENTS {
        let mut document = String::new();
        object(&mut document, &mut rng, 0);
        let body = ecmascript::stringify(document.as_bytes())
            .unwrap_or_else(|error| panic!("{error}: {document}"));
        let signature = signing::hmac_hex(SECRET, &body);
        writeln!(lines, "{} sha256={signature}", STANDARD.encode(&body)).unwrap();
    }
    let mut node = Command::new("node")
        .args(["-e", RECEIVER, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node is missing: apt-get install nodejs");
    node.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let done = node.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    let good = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    assert_eq!(good, DOCUMENTS.to_string(), "{}", told.chars().take(2_000).collect::<String>());
}

fn object(out: &mut String, rng: &mut StdRng, depth: u32) {
    out.push('{');
    for i in 0..rng.random_range(0..8) {
        if i > 0 {
            out.push(',');
        }
        space(out, rng);
        key(out, rng);
        space(out, rng);
        out.push(':');
        value(out, rng, depth + 1);
        space(out, rng);
    }
    out.push('}');
}

fn value(out: &mut String, rng: &mut StdRng, depth: u32) {
    match rng.random_range(0..if depth < 5 { 8 } else { 6 }) {
        0 => out.push_str("null"),
        1 => out.push_str(if rng.random() { "true" } else { "false" }),
        2 | 3 => number(out, rng),
        4 | 5 => text(out, rng),
        6 => object(out, rng, depth),
        _ => {
            out.push('[');
            for i in 0..rng.random_range(0..5) {
                if i > 0 {
                    out.push(',');
                }
                value(out, rng, depth + 1);
            }
            out.push(']');
        }
    }
}

fn key(out: &mut String, rng: &mut StdRng) {
    match rng.random_range(0..6) {
        0 => write!(out, "\"{}\"", rng.random_range(0..12)).unwrap(),
        1 => write!(out, "\"{}\"", rng.random::<u32>()).unwrap(),
        2 => write!(out, "\"0{}\"", rng.random_range(0..9)).unwrap(),
        3 => out.push_str(
            ["\"4294967294\"", "\"4294967295\"", "\"-1\"", "\"__proto__\"", "\"\""]
                [rng.random_range(0..5)],
        ),
        4 => write!(out, "\"k{}\"", rng.random_range(0..4)).unwrap(),
        _ => text(out, rng),
    }
}

fn number(out: &mut String, rng: &mut StdRng) {
    if rng.random() {
        out.push('-');
    }
    match rng.random_range(0..7) {
        0 => out.push('0'),
        1 => write!(out, "{}", rng.random::<u64>()).unwrap(),
        2 => {
            write!(
                out,
                "{}{}{}",
                rng.random_range(1..10),
                rng.random::<u64>(),
                rng.random::<u64>()
            )
            .unwrap();
        }
        3 => write!(out, "{}.{:03}", rng.random_range(0..1000), rng.random_range(0..1000)).unwrap(),
        4 => write!(out, "{}e{}", rng.random_range(1..100), rng.random_range(-330..330)).unwrap(),
        5 => write!(
            out,
            "{}.{}E+{}",
            rng.random_range(0..10),
            rng.random::<u32>(),
            rng.random_range(0..40)
        )
        .unwrap(),
        _ => write!(out, "{:e}", f64::from_bits(rng.random::<u64>() >> 2)).unwrap(),
    }
}

fn text(out: &mut String, rng: &mut StdRng) {
    out.push('"');
    for _ in 0..rng.random_range(0..6) {
        match rng.random_range(0..9) {
            0 => write!(out, "\\u{:04x}", rng.random_range(0xd800..0xe000)).unwrap(),
            1 => write!(out, "\\u{:04X}", rng.random::<u16>()).unwrap(),
            2 => out.push_str(
                ["\\n", "\\/", "\\\\", "\\\"", "\\b", "\\f", "\\r", "\\t"][rng.random_range(0..8)],
            ),
            3 => out.push_str(
                ["é", "日本", "😀", "\u{2028}", "\u{7f}", "\u{10ffff}"][rng.random_range(0..6)],
            ),
            4 => write!(out, "\\ud83d\\ude{:02x}", rng.random_range(0..0x50)).unwrap(),
            _ => out.push(char::from(rng.random_range(b'a'..=b'z'))),
        }
    }
    out.push('"');
}

fn space(out: &mut String, rng: &mut StdRng) {
    if rng.random_range(0..4) == 0 {
        out.push([' ', '\n', '\t', '\r'][rng.random_range(0..4)]);
    }
}
