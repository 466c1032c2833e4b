//! Code without its comments and texts, so that a rule finds only what is compiled.
//!
//! Owns a small lexer of Rust. Refuses to understand more than where comments, strings and
//! characters begin and end. Read [`super::rules`] next.

/// The text with every comment, string and character literal blanked; lines stay where they were.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment, string or character that begins here ends; `at` when none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match (chars[at], next) {
        ('/', Some('/')) => find(chars, at, |rest| rest[0] == '\n'),
        ('/', Some('*')) => block_comment_end(chars, at),
        ('r', Some('"' | '#')) if !in_word(chars, at) => raw_string_end(chars, at),
        ('"', _) => quoted_end(chars, at, '"'),
        ('\'', Some('\\')) => quoted_end(chars, at, '\''),
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|&i| wanted(&chars[i..])).unwrap_or(chars.len())
}

fn in_word(chars: &[char], at: usize) -> bool {
    // `br"…"` is a raw string too.
    at > 0 && chars[at - 1] != 'b' && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0_usize, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at; // a raw identifier: r#type
    }
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    let end = find(chars, at + 2 + hashes, closes);
    (end + 1 + hashes).min(chars.len())
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

#[test]
fn only_code_is_left_and_lines_stay_in_place() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let left = code_only(text);
        assert_eq!(left.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
        assert_eq!(left.lines().count(), text.lines().count(), "{text}");
    }
    check("a // tokio::x\nb", "a b");
    check("a /* x /* y */\n z */ b", "a b");
    check(r#"f("https://x \" tokio::", 'x', '\'', '"', g)"#, "f( , , , , g)");
    check("let a: &'static str = r#\"x \" tokio \"# ; b", "let a: &'static str = ; b");
    check("r#type br\"x\" for_r\"y\"", "r#type b for_r");
}
