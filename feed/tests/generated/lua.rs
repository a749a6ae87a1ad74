//! The tables of the Wireshark dissector.

use crate::{integer, named_types, plain};
use std::fmt::Write;
use wattbook_feed::layout::{Field, Kind};
use wattbook_feed::sbe::{SCHEMA_ID, inbound, outbound};
use wattbook_feed::signed::leaf;

fn layout(out: &mut String, indent: &str, fields: &[Field]) {
    for field in fields {
        let kind = match field.ty.kind {
            Kind::Int(primitive) => integer(primitive),
            Kind::Bytes | Kind::Hash => "bytes",
            Kind::Zero => "zero",
            Kind::Enum(..) | Kind::Composite(_) => field.ty.name,
        };
        let description = plain(field.description).replace('"', "\\\"");
        let Field { name, offset, .. } = field;
        writeln!(
            out,
            r#"{indent}{{ "{name}", "{kind}", {offset}, {}, "{description}" }},"#,
            field.ty.size
        )
        .unwrap();
    }
}

/// Enumerations, composites, leaves and messages as Lua tables.
pub(crate) fn tables() -> String {
    let mut out = String::new();
    let (composites, enums) = named_types();
    writeln!(out, "local SCHEMA_ID = {SCHEMA_ID}\nlocal ENUMS = {{").unwrap();
    for (name, primitive, values) in enums {
        writeln!(out, "  {name} = {{ type = \"{}\", names = {{", integer(primitive)).unwrap();
        for value in values {
            writeln!(out, "    [{}] = \"{}\",", value.value, value.name).unwrap();
        }
        writeln!(out, "  }} }},").unwrap();
    }
    writeln!(out, "}}\nlocal COMPOSITES = {{").unwrap();
    for (name, fields) in composites {
        writeln!(out, "  {name} = {{").unwrap();
        layout(&mut out, "    ", fields);
        writeln!(out, "  }},").unwrap();
    }
    writeln!(out, "}}\nlocal LEAVES = {{").unwrap();
    for (kind, name, fields) in leaf::LAYOUTS {
        let name = name.strip_suffix("Leaf").unwrap_or(name);
        writeln!(out, "  [{kind}] = {{ name = \"{name}\", fields = {{").unwrap();
        layout(&mut out, "    ", fields);
        writeln!(out, "  }} }},").unwrap();
    }
    writeln!(out, "}}\nlocal MESSAGES = {{").unwrap();
    for message in inbound::MESSAGES.iter().chain(outbound::MESSAGES) {
        writeln!(out, "  [{}] = {{ name = \"{}\", fields = {{", message.id, message.name).unwrap();
        layout(&mut out, "    ", message.fields);
        match message.group {
            None => writeln!(out, "  }} }},").unwrap(),
            Some(group) => {
                writeln!(out, "  }}, group = {{ name = \"{}\", fields = {{", group.name).unwrap();
                layout(&mut out, "    ", group.fields);
                writeln!(out, "  }} }} }},").unwrap();
            }
        }
    }
    writeln!(out, "}}").unwrap();
    out
}
