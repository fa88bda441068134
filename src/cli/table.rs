//! Columns of text: as wide as their widest cell, two spaces apart, the same with and without colour.

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use super::safe_text::safe;
use super::screen::Screen;

/// One cell. Its text is made harmless when it is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
    is_right: bool,
}

impl Cell {
    /// Text of anybody.
    pub(super) fn new(text: impl AsRef<str>) -> Cell {
        Cell { text: safe(text.as_ref()).into_owned(), ..Cell::default() }
    }

    /// In a style.
    pub(super) fn styled(mut self, style: Style) -> Cell {
        self.style = style;
        self
    }

    /// Aligned at its right, as numbers are.
    pub(super) fn right(mut self) -> Cell {
        self.is_right = true;
        self
    }
}

/// Rows of cells below a heading.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// With a heading and no rows.
    pub(super) fn new<const N: usize>(heading: [&str; N]) -> Table {
        let heading = heading.map(|text| Cell::new(text).styled(Style::new().bold()));
        Table { rows: vec![heading.to_vec()] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The whole, one line each, without spaces at their ends.
    pub(super) fn render(&self, screen: &Screen) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let mut out = String::new();
        for row in &self.rows {
            let mut gap = 0;
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let missing = width - cell.text.width();
                if cell.is_right {
                    gap += missing;
                }
                if !cell.text.is_empty() {
                    out.extend(std::iter::repeat_n(' ', gap));
                    out.push_str(&screen.paint(cell.style, &cell.text));
                    gap = 0;
                }
                if !cell.is_right {
                    gap += missing;
                }
                if index + 1 < row.len() {
                    gap += 2;
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "SIZE", ""]);
        table.row(vec![Cell::new("文字"), Cell::new("7").right(), Cell::new("end")]);
        table.row(vec![Cell::new("a\u{1b}"), Cell::new("1000").right(), Cell::new("")]);
        table
    }

    #[test]
    fn columns_line_up_also_with_wide_letters_and_lines_end_without_spaces() {
        let text = table().render(&Screen::plain());
        assert_eq!(text, "NAME   SIZE\n文字      7  end\na\\x1b  1000\n");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let text = table().render(&Screen::colored());
        assert!(text.contains("\u{1b}[1mNAME\u{1b}[0m"), "{text:?}");
        let bare = text.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        assert_eq!(bare, table().render(&Screen::plain()));
    }
}
