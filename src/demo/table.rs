//! The table on the terminal: one row an endpoint, redrawn in place; and the reconciling table at
//! the end.
//!
//! Owns how rows look. Refuses to count: rows come in. Where standard output is no terminal, it is
//! one line each time. Read [`super`] next.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use console::{Term, truncate_str};

/// How one endpoint stands. The numbers reconcile:
/// `routed + resumed = delivered + parked + dead + suppressed + stale + in_flight`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The endpoint's name.
    pub endpoint: String,
    /// `mqtt`, `rest`, `webhook`, `amqp`.
    pub transport: String,
    /// `healthy`, `degraded`, `open`, `paused`, `misconfigured`.
    pub state: String,
    /// Routes from the source.
    pub routed: u64,
    /// Routes from the parked queue.
    pub resumed: u64,
    /// Routes that the partner acknowledged.
    pub delivered: u64,
    /// Routes put into the endpoint's own queue.
    pub parked: u64,
    /// Routes put into its dead-letter queue.
    pub dead: u64,
    /// Repeats of what was delivered.
    pub suppressed: u64,
    /// Routes dropped with a lost bus connection.
    pub stale: u64,
    /// Routes that are not settled.
    pub in_flight: u64,
    /// The last failure, in a few words; empty when there was none.
    pub last_error: String,
}

impl Row {
    /// Whether everything that came is accounted for.
    #[must_use]
    pub fn reconciles(&self) -> bool {
        let ended = self.delivered + self.parked + self.dead + self.suppressed + self.stale;
        self.routed + self.resumed == ended + self.in_flight
    }
}

const HEADINGS: [&str; 12] = [
    "endpoint",
    "transport",
    "state",
    "routed",
    "resumed",
    "delivered",
    "parked",
    "dead",
    "suppressed",
    "stale",
    "in flight",
    "last error",
];
/// How many of the columns are texts, at the left; the last one is a text too.
const TEXTS: usize = 3;
/// The longest last error that is shown, in characters.
const MAX_ERROR: usize = 40;
/// The columns of the running table: narrow enough for a usual terminal.
const LIVE: [usize; 8] = [0, 1, 2, 5, 6, 7, 10, 11];

/// The rows as a table, in lines without a line end after the last.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let every: Vec<usize> = (0..HEADINGS.len()).collect();
    table(rows, &every).join("\n")
}

/// The lines of the running table: what changes most, each line at most `width` wide.
#[must_use]
pub fn render_live(rows: &[Row], width: usize) -> Vec<String> {
    let lines = table(rows, &LIVE).into_iter();
    lines.map(|line| truncate_str(&line, width, "").into_owned()).collect()
}

fn table(rows: &[Row], columns: &[usize]) -> Vec<String> {
    let cells: Vec<[String; 12]> = rows.iter().map(cells).collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings = HEADINGS.map(String::from);
    let all = std::iter::once(&headings).chain(&cells);
    all.map(|cells| line(cells, &widths, columns)).collect()
}

/// The table at the end: the rows, and whether everything is accounted for.
#[must_use]
pub fn render_final(rows: &[Row]) -> String {
    let open: Vec<&str> =
        rows.iter().filter(|row| !row.reconciles()).map(|row| row.endpoint.as_str()).collect();
    let verdict = if open.is_empty() {
        "every endpoint reconciles: \
         routed + resumed = delivered + parked + dead + suppressed + stale + in flight"
            .to_owned()
    } else {
        format!("DOES NOT RECONCILE: {}", open.join(", "))
    };
    format!("{}\n\n{verdict}", render(rows))
}

/// The rows on one line, for logs and pipes.
#[must_use]
pub fn render_line(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let gap = if text.is_empty() { "" } else { " | " };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{gap}{} {}: {} delivered, {} parked, {} dead, {} in flight",
            row.endpoint, row.state, row.delivered, row.parked, row.dead, row.in_flight
        );
    }
    text
}

fn cells(row: &Row) -> [String; 12] {
    [
        row.endpoint.clone(),
        row.transport.clone(),
        row.state.clone(),
        row.routed.to_string(),
        row.resumed.to_string(),
        row.delivered.to_string(),
        row.parked.to_string(),
        row.dead.to_string(),
        row.suppressed.to_string(),
        row.stale.to_string(),
        row.in_flight.to_string(),
        row.last_error
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_ERROR)
            .collect(),
    ]
}

fn line(cells: &[String; 12], widths: &[usize; 12], columns: &[usize]) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if !columns.contains(&column) {
            continue;
        }
        let is_text = column < TEXTS || column + 1 == cells.len();
        let width = *width;
        // Writing to a String cannot fail.
        let _ = if is_text {
            write!(text, "{cell:<width$}  ")
        } else {
            write!(text, "{cell:>width$}  ")
        };
    }
    text.trim_end().to_owned()
}

/// Where the table is shown while events flow.
pub struct Screen {
    terminal: Option<Term>,
    /// Lines on the terminal now; the cursor stands below them.
    drawn: usize,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// Standard output: in place on a terminal, else a line each time.
    #[must_use]
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal().then(Term::stdout);
        Self { terminal, drawn: 0 }
    }

    /// Shows the rows. Called about once a second.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn show(&mut self, rows: &[Row]) -> io::Result<()> {
        self.wipe()?;
        let Some(terminal) = &self.terminal else {
            return writeln!(io::stdout(), "{}", render_line(rows));
        };
        let (height, width) = terminal.size();
        // A table that is longer than the terminal could not be wiped.
        let most = usize::from(height).saturating_sub(1);
        for line in render_live(rows, usize::from(width)).iter().take(most) {
            terminal.write_line(line)?;
            self.drawn += 1;
        }
        Ok(())
    }

    /// Takes the running table away and prints the final one.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn finish(mut self, rows: &[Row]) -> io::Result<()> {
        self.wipe()?;
        writeln!(io::stdout(), "{}", render_final(rows))
    }

    /// Also what the terminal echoed below the table: Ctrl-C.
    fn wipe(&mut self) -> io::Result<()> {
        if let Some(terminal) = &self.terminal {
            terminal.clear_line()?;
            terminal.clear_last_lines(std::mem::take(&mut self.drawn))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            endpoint: "erp".into(),
            transport: "rest".into(),
            state: "healthy".into(),
            routed: 10,
            resumed: 2,
            delivered: 7,
            parked: 2,
            dead: 1,
            suppressed: 1,
            in_flight: 1,
            last_error: "503\nService Unavailable".into(),
            ..Row::default()
        }
    }

    #[test]
    fn columns_line_up_and_control_characters_are_gone() {
        let text = render(&[row(), Row { endpoint: "a-longer-name".into(), ..row() }]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let ends = |line: &str, word: &str| line.find(word).unwrap() + word.len();
        assert_eq!(ends(lines[0], "routed"), ends(lines[1], "10"), "{text}");
        assert_eq!(ends(lines[0], "routed"), ends(lines[2], "10"), "{text}");
        assert!(lines[1].ends_with("503 Service Unavailable"), "{text}");
    }

    #[test]
    fn the_running_table_is_no_wider_than_the_terminal() {
        let lines = render_live(&[row()], 80);
        assert!(lines[0].starts_with("endpoint") && lines[0].contains("in flight"), "{lines:?}");
        assert!(!lines[0].contains("suppressed") && lines[1].contains("503 Ser"), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(render_live(&[row()], 10).iter().all(|line| line.chars().count() <= 10));
    }

    #[test]
    fn the_final_table_says_whether_everything_is_accounted_for() {
        assert!(row().reconciles());
        assert!(render_final(&[row()]).contains("every endpoint reconciles"));
        let lost = Row { delivered: 6, ..row() };
        assert!(!lost.reconciles());
        assert!(render_final(&[row(), lost]).ends_with("DOES NOT RECONCILE: erp"));
    }

    #[test]
    fn without_a_terminal_it_is_one_line() {
        let text = render_line(&[row(), Row { endpoint: "scada".into(), ..row() }]);
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("erp healthy: 7 delivered") && text.contains("| scada"), "{text}");
    }
}
