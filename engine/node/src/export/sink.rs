//! Tables as CSV, JSON lines or Parquet.

use super::table::{Cell, Field, Kind, Table};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::io::{self, Write};
use std::sync::Arc;

/// How a table is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated, with a line of names.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Parquet, compressed with zstd.
    Parquet,
}

/// Where rows go.
pub(super) enum Sink<W: Write + Send> {
    Csv(Box<csv::Writer<W>>),
    Jsonl(W),
    Parquet(Box<SerializedFileWriter<W>>),
}

fn parquet_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        other => io::Error::other(other),
    }
}

impl<W: Write + Send> Sink<W> {
    pub(super) fn open(format: Format, fields: &'static [Field], out: W) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(fields.iter().map(|field| field.name))?;
                Self::Csv(Box::new(writer))
            }
            Format::Jsonl => Self::Jsonl(out),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_dictionary_enabled(false)
                    .set_statistics_enabled(EnabledStatistics::Chunk)
                    .set_created_by(concat!("wattbook ", env!("CARGO_PKG_VERSION")).to_owned());
                // Names and other short texts repeat; numbers and payloads do not.
                let texts = fields.iter().filter(|field| field.kind == Kind::Text);
                let properties = texts.fold(properties, |properties, field| {
                    properties.set_column_dictionary_enabled(field.name.into(), true)
                });
                let schema = schema(fields).map_err(parquet_error)?;
                let writer = SerializedFileWriter::new(out, schema, Arc::new(properties.build()));
                Self::Parquet(Box::new(writer.map_err(parquet_error)?))
            }
        })
    }

    /// Writes the rows of a table.
    pub(super) fn write(&mut self, table: &Table) -> io::Result<()> {
        match self {
            Self::Csv(writer) => table.rows(|cells| {
                for (field, cell) in table.fields.iter().zip(cells) {
                    writer.write_field(plain(field, cell).unwrap_or_default())?;
                }
                Ok(writer.write_record(None::<&[u8]>)?)
            }),
            Self::Jsonl(out) => table.rows(|cells| {
                let mut line = serde_json::Map::new();
                for (field, cell) in table.fields.iter().zip(cells) {
                    let value = match (field.kind, cell) {
                        (_, Cell::Empty) => serde_json::Value::Null,
                        (Kind::Signed, Cell::Number(number)) => number.cast_signed().into(),
                        (_, Cell::Number(number)) => (*number).into(),
                        _ => plain(field, cell).into(),
                    };
                    line.insert(field.name.to_owned(), value);
                }
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")
            }),
            Self::Parquet(writer) => row_group(writer, table).map_err(parquet_error),
        }
    }

    /// Ends the table.
    pub(super) fn close(self) -> io::Result<()> {
        match self {
            Self::Csv(mut writer) => writer.flush(),
            Self::Jsonl(mut out) => out.flush(),
            Self::Parquet(mut writer) => {
                writer.finish().map_err(parquet_error)?;
                writer.inner_mut().flush()
            }
        }
    }
}

/// A cell as text; `None` for an empty one.
fn plain(field: &Field, cell: &Cell<'_>) -> Option<String> {
    Some(match (field.kind, cell) {
        (_, Cell::Empty) => return None,
        (Kind::Signed, Cell::Number(number)) => number.cast_signed().to_string(),
        (_, Cell::Number(number)) => number.to_string(),
        (Kind::Bytes, Cell::Bytes(bytes)) => hex::encode(bytes),
        (_, Cell::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
    })
}

fn schema(fields: &[Field]) -> Result<Arc<Type>, ParquetError> {
    let columns = fields.iter().map(|field| {
        let repetition = if field.optional {
            Repetition::OPTIONAL
        } else {
            Repetition::REQUIRED
        };
        let (physical, logical) = match field.kind {
            Kind::Unsigned => (PhysicalType::INT64, Some(LogicalType::integer(64, false))),
            Kind::Signed => (PhysicalType::INT64, None),
            Kind::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
            Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Bytes => (PhysicalType::BYTE_ARRAY, None),
        };
        let column = Type::primitive_type_builder(field.name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical);
        column.build().map(Arc::new)
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("wattbook")
        .with_fields(columns)
        .build()
        .map(Arc::new)
}

fn row_group<W: Write + Send>(writer: &mut SerializedFileWriter<W>, table: &Table) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for (field, column) in table.fields.iter().zip(&table.columns) {
        let Some(mut out) = group.next_column()? else { break };
        let levels = field.optional.then_some(column.levels.as_slice());
        match field.kind {
            Kind::Text | Kind::Bytes => {
                // One buffer, shared by every cell.
                let all = ByteArray::from(column.bytes.clone());
                let mut start = 0;
                let cells = column.ends.iter().map(|end| {
                    let cell = all.slice(start, end - start);
                    start = *end;
                    cell
                });
                let cells: Vec<ByteArray> = cells.collect();
                out.typed::<ByteArrayType>().write_batch(&cells, levels, None)?;
            }
            _ => {
                out.typed::<Int64Type>().write_batch(&column.numbers, levels, None)?;
            }
        }
        out.close()?;
    }
    group.close().map(drop)
}
