//! Imports between files, and their circles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use crate::source::{ModuleId, Package, Segments};

/// The names that a file imports of another.
type Names = BTreeSet<String>;

/// Methods that a module defines for a type.
type Defined<'a> = (ModuleId, &'a BTreeSet<String>);

/// The imports of each file, by the files that define them.
#[derive(Debug, Default)]
pub struct Imports(BTreeMap<PathBuf, BTreeMap<PathBuf, Names>>);

/// Files of which each imports each other, directly or through others.
#[derive(Debug)]
pub struct Circle {
    pub files: BTreeSet<PathBuf>,
    ties: Vec<(PathBuf, PathBuf, Names)>,
}

impl fmt::Display for Circle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "a circle of {} files:", self.files.len())?;
        for (from, to, names) in &self.ties {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            writeln!(out, "  {} imports {} of {}", from.display(), names.join(", "), to.display())?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Found {
    Module(ModuleId),
    /// An item of a module; a variant or method may follow it in the path.
    Item(ModuleId, String),
}

/// Re-exports may refer to each other.
const DEEPEST: usize = 32;

impl Package {
    fn lookup(&self, module: ModuleId, name: &str, depth: usize) -> Vec<Found> {
        let here = &self.modules[module];
        let mut found = Vec::new();
        if here.items.contains(name) {
            found.push(Found::Item(module, name.to_owned()));
        }
        if let Some(&child) = here.children.get(name) {
            found.push(Found::Module(child));
        }
        for path in here.imports.get(name).into_iter().flatten() {
            found.extend(self.resolve(module, path, depth + 1));
        }
        if found.is_empty() {
            for path in &here.globs {
                for from in self.resolve(module, path, depth + 1) {
                    if let Found::Module(from) = from {
                        found.extend(self.lookup(from, name, depth + 1));
                    }
                }
            }
        }
        found
    }

    fn resolve(&self, module: ModuleId, path: &Segments, depth: usize) -> Vec<Found> {
        if depth > DEEPEST {
            return Vec::new();
        }
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let here = &self.modules[module];
        let mut found = match first.as_str() {
            "crate" => vec![Found::Module(here.root)],
            "self" => vec![Found::Module(module)],
            "super" => here.parent.into_iter().map(Found::Module).collect(),
            name => {
                // An import may have the same name as the crate it comes from.
                let own = if here.imports.get(name).is_some_and(|paths| paths.contains(path)) {
                    Vec::new()
                } else {
                    self.lookup(module, name, depth)
                };
                if own.is_empty() {
                    self.libraries.get(name).map(|&root| Found::Module(root)).into_iter().collect()
                } else {
                    own
                }
            }
        };
        for name in rest {
            found = found
                .into_iter()
                .flat_map(|each| match each {
                    Found::Module(module) if name == "super" => {
                        self.modules[module].parent.into_iter().map(Found::Module).collect()
                    }
                    Found::Module(module) => {
                        let found = self.lookup(module, name, depth);
                        // Generated code belongs to the file that includes it.
                        if found.is_empty() {
                            vec![Found::Item(module, name.clone())]
                        } else {
                            found
                        }
                    }
                    item @ Found::Item(..) => vec![item],
                })
                .collect();
        }
        found
    }

    pub fn imports(&self) -> Imports {
        let mut ties = Imports::default();
        // By type, since methods may be in other files than their type.
        let mut methods: BTreeMap<(ModuleId, String), Vec<Defined<'_>>> = BTreeMap::new();
        for (id, module) in self.modules.iter().enumerate() {
            for block in &module.methods {
                for found in self.resolve(id, &block.of, 0) {
                    if let Found::Item(definer, name) = found {
                        methods.entry((definer, name)).or_default().push((id, &block.defined));
                    }
                }
            }
        }
        for (id, module) in self.modules.iter().enumerate() {
            ties.0.entry(module.file.clone()).or_default();
            for path in &module.paths {
                for found in self.resolve(id, path, 0) {
                    let Found::Item(definer, name) = found else { continue };
                    // A method that is called by a path.
                    if let Some(blocks) = methods.get(&(definer, name.clone()))
                        && let Some(last) = path.last()
                    {
                        for (at, defined) in blocks {
                            if defined.contains(last) {
                                self.tie(&mut ties, id, *at, format!("{name}::{last}"));
                            }
                        }
                    }
                    self.tie(&mut ties, id, definer, name);
                }
            }
            for path in &module.globs {
                for found in self.resolve(id, path, 0) {
                    let (Found::Item(definer, _) | Found::Module(definer)) = found;
                    if !self.modules[definer].items.is_empty() {
                        self.tie(&mut ties, id, definer, "*".to_owned());
                    }
                }
            }
            for block in &module.methods {
                for found in self.resolve(id, &block.of, 0) {
                    let Found::Item(definer, name) = found else { continue };
                    for (at, defined) in methods.get(&(definer, name.clone())).into_iter().flatten()
                    {
                        for called in block.called.intersection(defined) {
                            self.tie(&mut ties, id, *at, format!("{name}::{called}"));
                        }
                    }
                }
            }
        }
        ties
    }

    fn tie(&self, ties: &mut Imports, from: ModuleId, to: ModuleId, name: String) {
        let (from, to) = (&self.modules[from].file, &self.modules[to].file);
        if from != to {
            let to = ties.0.entry(from.clone()).or_default().entry(to.clone()).or_default();
            to.insert(name);
        }
    }
}

impl Imports {
    fn reachable(&self, from: &PathBuf) -> BTreeSet<&PathBuf> {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(file) = next.pop() {
            for to in self.0.get(file).into_iter().flatten().map(|(to, _)| to) {
                if reached.insert(to) {
                    next.push(to);
                }
            }
        }
        reached
    }

    /// All circles, the largest first. A file is part of at most one.
    pub fn circles(&self) -> Vec<Circle> {
        let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
            self.0.keys().map(|file| (file, self.reachable(file))).collect();
        let mut circles = Vec::new();
        let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
        for (file, reaches) in &reached {
            if !reaches.contains(file) || seen.contains(*file) {
                continue;
            }
            let files: BTreeSet<PathBuf> = reaches
                .iter()
                .filter(|other| reached[**other].contains(file))
                .map(|&other| other.clone())
                .collect();
            let ties = files
                .iter()
                .flat_map(|from| {
                    let within = self.0[from].iter().filter(|(to, _)| files.contains(*to));
                    within.map(|(to, names)| (from.clone(), to.clone(), names.clone()))
                })
                .collect();
            seen.extend(files.iter().cloned());
            circles.push(Circle { files, ties });
        }
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.files.len()));
        circles
    }

    pub fn of(&self, file: &str) -> BTreeMap<String, Vec<String>> {
        let ties = self.0.get(&PathBuf::from(file)).into_iter().flatten();
        ties.map(|(to, names)| (to.display().to_string(), names.iter().cloned().collect()))
            .collect()
    }
}
