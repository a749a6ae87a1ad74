//! Rows gathered by column.

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A number that is never negative.
    Unsigned,
    /// A number.
    Signed,
    /// Nanoseconds since 1970, UTC.
    Time,
    /// Text.
    Text,
    /// Bytes; hex in text formats.
    Bytes,
}

/// A column's name and kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether a cell may be empty.
    pub(super) optional: bool,
}

/// One cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cell<'a> {
    /// Nothing; only in an optional column.
    Empty,
    /// Unsigned, signed (as its bits) or a time.
    Number(u64),
    /// Text, or bytes.
    Bytes(&'a [u8]),
}

impl<'a> Cell<'a> {
    pub(super) const fn signed(value: i64) -> Self {
        Self::Number(value.cast_unsigned())
    }

    pub(super) const fn text(value: &'a str) -> Self {
        Self::Bytes(value.as_bytes())
    }

    pub(super) fn maybe(value: Option<u64>) -> Self {
        value.map_or(Self::Empty, Self::Number)
    }
}

/// The cells of one column.
#[derive(Debug, Default)]
pub(super) struct Column {
    /// Numbers, in a column of numbers.
    pub(super) numbers: Vec<i64>,
    /// Contents one after another, and where each ends.
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
    /// 1 where there is a cell, in an optional column.
    pub(super) levels: Vec<i16>,
}

/// Rows of one table, so many that a sink takes them at once.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) fields: &'static [Field],
    pub(super) columns: Vec<Column>,
    pub(super) len: usize,
}

impl Table {
    pub(super) fn new(fields: &'static [Field]) -> Self {
        Self {
            fields,
            columns: fields.iter().map(|_| Column::default()).collect(),
            len: 0,
        }
    }

    /// Appends a row.
    pub(super) fn push(&mut self, row: &[Cell<'_>]) {
        debug_assert_eq!(row.len(), self.fields.len());
        for ((field, column), cell) in self.fields.iter().zip(&mut self.columns).zip(row) {
            if field.optional {
                column.levels.push(i16::from(*cell != Cell::Empty));
            }
            match cell {
                Cell::Empty => debug_assert!(field.optional, "{} is never empty", field.name),
                Cell::Number(number) => column.numbers.push(number.cast_signed()),
                Cell::Bytes(bytes) => {
                    column.bytes.extend_from_slice(bytes);
                    column.ends.push(column.bytes.len());
                }
            }
        }
        self.len += 1;
    }

    /// Empties it, keeping its memory.
    pub(super) fn clear(&mut self) {
        for column in &mut self.columns {
            column.numbers.clear();
            column.bytes.clear();
            column.ends.clear();
            column.levels.clear();
        }
        self.len = 0;
    }

    /// Gives the rows one by one, as cells.
    pub(super) fn rows<E>(&self, mut row: impl FnMut(&[Cell<'_>]) -> Result<(), E>) -> Result<(), E> {
        let mut next = vec![0; self.columns.len()];
        let mut cells = vec![Cell::Empty; self.columns.len()];
        for at in 0..self.len {
            for (((field, column), next), cell) in self.fields.iter().zip(&self.columns).zip(&mut next).zip(&mut cells)
            {
                *cell = match field.kind {
                    _ if field.optional && column.levels[at] == 0 => Cell::Empty,
                    Kind::Text | Kind::Bytes => {
                        let start = if *next == 0 { 0 } else { column.ends[*next - 1] };
                        Cell::Bytes(&column.bytes[start..column.ends[*next]])
                    }
                    _ => Cell::signed(column.numbers[*next]),
                };
                *next += usize::from(*cell != Cell::Empty);
            }
            row(&cells)?;
        }
        Ok(())
    }
}
