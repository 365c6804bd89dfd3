//! How answers look: aligned tables, colours only on a terminal, and printing that survives a closed pipe.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

/// A colour with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
    Strong,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Colours if standard output is a terminal and the user has not declined (`NO_COLOR`).
    pub(super) fn for_stdout() -> Self {
        Paint { is_on: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    #[cfg(test)]
    pub(super) fn off() -> Self {
        Paint { is_on: false }
    }

    pub(super) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Strong => "1",
            Tone::Plain => return text.to_string(),
        };
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug, Default)]
pub(super) struct Grid {
    rows: Vec<Vec<(String, Tone)>>,
}

impl Grid {
    pub(super) fn head(names: &[&str]) -> Self {
        Grid { rows: vec![names.iter().map(|name| ((*name).to_string(), Tone::Dim)).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells.into_iter().map(|(text, tone)| (printable(&text), tone)).collect());
    }

    pub(super) fn draw(&self, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(text, _)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (text, tone)) in row.iter().enumerate() {
                line.push_str(&paint.tone(*tone, text));
                if column + 1 < row.len() {
                    let gap = widths[column] - text.chars().count() + 2;
                    line.push_str(&" ".repeat(gap));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Text of others without control characters, which could move the cursor or change colours.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Prints to standard output; a reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// Says what went wrong, on standard error, every line with the program's name.
pub(super) fn complain(text: &str) {
    let mut out = io::stderr().lock();
    for line in text.lines() {
        // If even standard error is gone there is nobody left to tell.
        let _ = writeln!(out, "erlmcp-node: {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_do_not_trail() {
        let mut grid = Grid::head(&["NODE", "STATE"]);
        grid.row(vec![("1".into(), Tone::Plain), ("leader".into(), Tone::Good)]);
        grid.row(vec![("12345".into(), Tone::Plain), (String::new(), Tone::Plain)]);
        assert_eq!(grid.draw(Paint::off()), "NODE   STATE\n1      leader\n12345\n");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut grid = Grid::default();
        grid.row(vec![("a".into(), Tone::Bad), ("b".into(), Tone::Plain)]);
        assert_eq!(grid.draw(Paint { is_on: true }), "\x1b[31ma\x1b[0m  b\n");
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
