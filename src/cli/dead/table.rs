//! Tables that fit the terminal.
//!
//! Owns widths, cutting, and what keeps a text of an event from doing anything to a terminal. Refuses
//! to know what is in the cells. Read [`super::list`] next.

use std::time::Duration;

use console::Term;

/// No column is made narrower than this, in characters.
const NARROWEST: usize = 8;
const GAP: &str = "  ";

/// How wide the terminal is on which standard output is shown; `None` where it is none.
pub(super) fn terminal_width() -> Option<usize> {
    let terminal = Term::stdout();
    let size = terminal.is_term().then(|| terminal.size_checked()).flatten();
    size.map(|(_, columns)| usize::from(columns))
}

/// Lines under a heading, columns side by side; those in `numbers` stand to the right. Wider than
/// `width`, the widest columns are cut.
pub(super) fn render<const N: usize>(
    headings: [&str; N],
    numbers: &[usize],
    rows: &[[String; N]],
    width: Option<usize>,
) -> Vec<String> {
    let headings = headings.map(str::to_owned);
    let mut widths: Vec<usize> = headings.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(width) = width {
        shrink(&mut widths, width);
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            let cell = cut(cell, width);
            if numbers.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    std::iter::once(line(&headings)).chain(rows.iter().map(line)).collect()
}

/// Takes from the widest column until all fit, or none can be cut any more.
fn shrink(widths: &mut [usize], available: usize) {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(available);
    while over > 0 {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > NARROWEST) else {
            return;
        };
        *widest -= 1;
        over -= 1;
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A text on one line that commands no terminal.
pub(super) fn printable(text: &str) -> String {
    let mute = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(mute).collect()
}

/// A text of several lines that commands no terminal.
pub(super) fn printable_lines(text: &str) -> String {
    let mute = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(mute).collect()
}

/// An age by its largest unit: `12s`, `5m`, `3h`, `9d`.
pub(super) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<[String; 3]> {
        let row = |id: &str, count: &str, error: &str| [id, count, error].map(str::to_owned);
        vec![
            row("e-1", "7", "503 Service Unavailable from http://erp.example/events"),
            row("0123456789abcdef", "12", "-"),
        ]
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let lines = render(["id", "attempts", "last error"], &[1], &rows(), None);
        assert_eq!(
            lines,
            [
                "id                attempts  last error",
                "e-1                      7  503 Service Unavailable from http://erp.example/events",
                "0123456789abcdef        12  -",
            ]
        );
    }

    #[test]
    fn on_a_terminal_the_widest_columns_are_cut_until_all_fit() {
        for width in [28, 40, 60, 80, 200] {
            let lines = render(["id", "attempts", "last error"], &[1], &rows(), Some(width));
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
        }
        let narrow = render(["id", "attempts", "last error"], &[1], &rows(), Some(40));
        assert_eq!(narrow[1], "e-1                    7  503 Service U…");
    }

    #[test]
    fn what_an_event_says_commands_no_terminal() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{9b}c"), "a\u{fffd}[2J\u{fffd}b\u{fffd}c");
        assert_eq!(printable_lines("a\u{1b}\n\tb\r"), "a\u{fffd}\n\tb\u{fffd}");
    }

    #[test]
    fn an_age_is_told_by_its_largest_unit() {
        for (seconds, wanted) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (7_199, "1h"), (86_400, "1d"), (864_000, "10d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), wanted);
        }
    }
}
