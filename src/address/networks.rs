//! The operator's own networks: prefixes with the AS, the name and the site that flows of their
//! addresses belong to.

use std::{borrow::Cow, collections::HashMap, fmt, net::IpAddr};

use crate::nearest::nearest;

use super::{block::Block, csv, delimited, lookup::Lookup, steps::Overlapping};

/// The longest name of a network or a site, in bytes: they become label values.
pub const MAX_NETWORK_TEXT_BYTES: usize = 1024;

/// The columns that a file may have.
const COLUMNS: [&str; 4] = ["prefix", "as", "name", "site"];

/// Why a text isn't a list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct NetworksError {
    /// The number of the line, from 1 on.
    pub line: usize,
    /// What is wrong with it, and what is expected.
    pub what: String,
}

/// What the operator says of a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The number of the AS; 0 if not given.
    pub asn: u32,
    /// The network's name; empty if not given.
    pub name: Box<str>,
    /// The site; empty if not given.
    pub site: Box<str>,
}

/// The operator's own networks.
pub struct Networks {
    /// From an address to a place in `networks` + 1; 0 outside all networks.
    places: Lookup<u32>,
    networks: Vec<Network>,
}

impl Networks {
    /// Reads a list of networks: CSV, or the same with tabs, whose first line names the columns.
    ///
    /// ```csv
    /// prefix,as,name,site
    /// 192.0.2.0/24,64500,Customer,Frankfurt
    /// 2001:db8::/32,64500,"Customer, Inc.",
    /// ```
    ///
    /// There must be a `prefix`; of the others, those that are needed, in any order. A list of rows
    /// is what address management systems and spreadsheets give; YAML would add nothing but quoting.
    ///
    /// # Errors
    /// A list with any row that is not understood is refused as a whole.
    pub fn parse(text: &str) -> Result<Networks, NetworksError> {
        let mut lines = delimited::lines(text.as_bytes());
        let no_rows = |line| NetworksError {
            line,
            what: "the list has no rows: was it cut short?".to_owned(),
        };
        let (line, head) = lines.next().ok_or(no_rows(1))?;
        let delimiter = delimited::delimiter(head);
        let names: Result<Vec<_>, _> = delimited::fields(head, delimiter).collect();
        let columns = names
            .and_then(|names| Columns::named(&names))
            .map_err(|what| NetworksError { line, what })?;
        let mut ranges = Overlapping::default();
        let mut networks = Vec::new();
        let mut given = HashMap::new();
        for (line, text) in lines {
            let error = |what| NetworksError { line, what };
            let row: Result<Vec<_>, _> = delimited::fields(text, delimiter).collect();
            let (block, network) = row.and_then(|row| columns.read(&row)).map_err(error)?;
            if let Some(first) = given.insert(block, line) {
                return Err(error(format!("line {first} has this prefix already: give it once")));
            }
            networks.push(network);
            ranges.push(block, networks.len() as u32);
        }
        if networks.is_empty() {
            return Err(no_rows(line));
        }
        Ok(Networks { places: Lookup::new(&ranges.steps()), networks })
    }

    /// The network with the longest prefix that an address matches.
    pub fn lookup(&self, address: IpAddr) -> Option<&Network> {
        let place = self.places.get(address).checked_sub(1)?;
        self.networks.get(place as usize)
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

/// No networks.
impl Default for Networks {
    fn default() -> Self {
        Networks { places: Lookup::new(&Overlapping::default().steps()), networks: Vec::new() }
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Networks").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Where a row has what.
struct Columns {
    len: usize,
    prefix: usize,
    asn: Option<usize>,
    name: Option<usize>,
    site: Option<usize>,
}

impl Columns {
    fn named(names: &[Cow<'_, str>]) -> Result<Columns, String> {
        let mut places = COLUMNS.map(|_| None);
        for (place, name) in names.iter().enumerate() {
            let Some(column) = COLUMNS.iter().position(|column| column.eq_ignore_ascii_case(name))
            else {
                let advice = match nearest(name, COLUMNS) {
                    Some(known) => format!("did you mean {known}?"),
                    None => format!("name {}", COLUMNS.join(", ")),
                };
                let name = csv::quoted(name);
                return Err(format!(
                    "the first line names the columns, and {name} isn't one: {advice}"
                ));
            };
            if places[column].replace(place).is_some() {
                return Err(format!("the column {} is there twice", COLUMNS[column]));
            }
        }
        match places {
            [Some(prefix), asn, name, site] => {
                Ok(Columns { len: names.len(), prefix, asn, name, site })
            }
            _ => Err("the first line must name a column prefix".to_owned()),
        }
    }

    fn read(&self, row: &[Cow<'_, str>]) -> Result<(Block, Network), String> {
        if row.len() != self.len {
            return Err(format!(
                "the row has {} fields and the first line {}: put quotes around a field with commas",
                row.len(),
                self.len
            ));
        }
        let prefix = &row[self.prefix];
        let block =
            Block::parse(prefix).map_err(|error| format!("{} {error}", csv::quoted(prefix)))?;
        let asn = self.asn.map(|place| csv::asn(&row[place])).transpose()?.unwrap_or_default();
        let name = self.name.map(|place| text(&row[place])).transpose()?.unwrap_or_default();
        let site = self.site.map(|place| text(&row[place])).transpose()?.unwrap_or_default();
        Ok((block, Network { asn, name, site }))
    }
}

fn text(field: &str) -> Result<Box<str>, String> {
    if field.len() > MAX_NETWORK_TEXT_BYTES {
        let shown = csv::quoted(field);
        return Err(format!("{shown} is longer than {MAX_NETWORK_TEXT_BYTES} bytes"));
    }
    if field.contains(char::is_control) {
        return Err(format!("{} has control characters: remove them", csv::quoted(field)));
    }
    Ok(field.into())
}
