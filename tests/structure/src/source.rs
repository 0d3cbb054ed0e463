//! The modules of a package: what each defines, imports and refers to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ExprMethodCall, ImplItem, Item, ItemImpl, ItemUse, Macro, Meta, Type, UseTree,
    ext::IdentExt as _,
    visit::{self, Visit},
};

pub(crate) type ModuleId = usize;

/// A path as written, by segments.
pub(crate) type Segments = Vec<String>;

/// The crates of a package: libraries, and programs that use them.
#[derive(Debug, Default)]
pub struct Package {
    pub(crate) modules: Vec<Module>,
    /// The root modules of libraries, by crate name.
    pub(crate) libraries: BTreeMap<String, ModuleId>,
}

#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Relative to the package's folder.
    pub(crate) file: PathBuf,
    pub(crate) parent: Option<ModuleId>,
    pub(crate) root: ModuleId,
    pub(crate) children: BTreeMap<String, ModuleId>,
    pub(crate) items: BTreeSet<String>,
    /// By the name under which the module imports.
    pub(crate) imports: BTreeMap<String, Vec<Segments>>,
    pub(crate) globs: Vec<Segments>,
    /// All paths in the module's code, imports included.
    pub(crate) paths: BTreeSet<Segments>,
    pub(crate) methods: Vec<Methods>,
}

/// An `impl` block. Methods are called without an import, so calls on `self` are recorded.
#[derive(Debug)]
pub(crate) struct Methods {
    pub(crate) of: Segments,
    /// Empty for the implementation of a trait.
    pub(crate) defined: BTreeSet<String>,
    /// Methods that the block calls as `self.name()` or `Self::name()`.
    pub(crate) called: BTreeSet<String>,
}

impl Package {
    /// Parses a library, given its root. `read` returns the text of a file.
    pub fn add_library(&mut self, name: &str, file: &Path, read: &dyn Fn(&Path) -> Option<String>) {
        let root = self.add_program(file, read);
        self.libraries.insert(name.to_owned(), root);
    }

    /// Parses a program, given its root, and returns the number of its root module.
    pub fn add_program(&mut self, file: &Path, read: &dyn Fn(&Path) -> Option<String>) -> usize {
        let root = self.modules.len();
        let text = read(file).unwrap_or_else(|| panic!("{} can't be read", file.display()));
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        self.add_file(file, &text, None, root, &folder, read);
        root
    }

    fn add_file(
        &mut self,
        file: &Path,
        text: &str,
        parent: Option<ModuleId>,
        root: ModuleId,
        folder: &Path,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> usize {
        let parsed = syn::parse_file(text)
            .unwrap_or_else(|error| panic!("{} is not Rust: {error}", file.display()));
        self.add_items(file, &parsed.items, parent, root, folder, read)
    }

    /// `folder` has the files of the module's children.
    fn add_items(
        &mut self,
        file: &Path,
        items: &[Item],
        parent: Option<ModuleId>,
        root: ModuleId,
        folder: &Path,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> usize {
        let id = self.modules.len();
        self.modules.push(Module { file: file.to_owned(), parent, root, ..Module::default() });
        let mut collector = Collector::default();
        for item in items {
            collector.visit_item(item);
        }
        let mut module = collector.module;
        for item in items {
            let Item::Mod(child) = item else { continue };
            if is_test(&child.attrs) {
                continue;
            }
            let name = child.ident.unraw().to_string();
            let within = folder.join(&name);
            let added = if let Some((_, items)) = &child.content {
                self.add_items(file, items, Some(id), root, &within, read)
            } else {
                let candidates = [folder.join(format!("{name}.rs")), within.join("mod.rs")];
                let (path, text) = candidates
                    .iter()
                    .find_map(|path| Some((path, read(path)?)))
                    .unwrap_or_else(|| panic!("module {name} of {} not found", file.display()));
                self.add_file(path, &text, Some(id), root, &within, read)
            };
            module.children.insert(name, added);
        }
        self.modules[id] = Module { file: file.to_owned(), parent, root, ..module };
        id
    }
}

/// Whether an item is compiled for unit tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test" || condition.starts_with("all (test")
        }
        _ => false,
    })
}

/// Visits the items of a module, except for child modules.
#[derive(Default)]
struct Collector {
    module: Module,
    calls: BTreeSet<String>,
}

impl Collector {
    fn import(&mut self, tree: &UseTree, mut prefix: Segments) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.unraw().to_string());
                self.import(&path.tree, prefix);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, prefix.clone());
                }
            }
            UseTree::Name(name) => {
                let name = name.ident.unraw().to_string();
                self.import_as(prefix, name.clone(), name);
            }
            UseTree::Rename(rename) => {
                let name = rename.ident.unraw().to_string();
                self.import_as(prefix, name, rename.rename.unraw().to_string());
            }
            UseTree::Glob(_) => self.module.globs.push(prefix),
        }
    }

    fn import_as(&mut self, mut path: Segments, name: String, mut alias: String) {
        if name == "self" {
            if alias == "self" {
                alias = path.last().cloned().unwrap_or_default();
            }
        } else {
            path.push(name);
        }
        self.module.paths.insert(path.clone());
        self.module.imports.entry(alias).or_default().push(path);
    }

    /// Finds paths (`name::name`) in the tokens of a macro, which can't be parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.path(std::mem::take(&mut path));
                    }
                    path.push(name.unraw().to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => colons += 1,
                TokenTree::Group(group) => {
                    self.path(std::mem::take(&mut path));
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    self.path(std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.path(path);
    }

    fn path(&mut self, path: Segments) {
        if !path.is_empty() {
            self.module.paths.insert(path);
        }
    }

    /// Records the item's name, and returns whether the item is for tests.
    fn define(&mut self, item: &Item) -> bool {
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::TraitAlias(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::Impl(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            Item::ExternCrate(item) => (&item.attrs, None),
            Item::ForeignMod(item) => (&item.attrs, None),
            _ => return false,
        };
        if is_test(attributes) {
            return true;
        }
        if let Some(name) = name {
            self.module.items.insert(name.unraw().to_string());
        }
        false
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        // Child modules are visited separately.
        if matches!(item, Item::Mod(_)) || self.define(item) {
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, Segments::new());
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let outer = std::mem::take(&mut self.calls);
        visit::visit_item_impl(self, item);
        let called = std::mem::replace(&mut self.calls, outer);
        let Type::Path(of) = &*item.self_ty else { return };
        let mut defined = BTreeSet::new();
        if item.trait_.is_none() {
            for item in &item.items {
                if let ImplItem::Fn(method) = item
                    && !is_test(&method.attrs)
                {
                    defined.insert(method.sig.ident.unraw().to_string());
                }
            }
        }
        self.module.methods.push(Methods { of: segments(&of.path), defined, called });
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if let ImplItem::Fn(method) = item
            && is_test(&method.attrs)
        {
            return;
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if matches!(&*call.receiver, Expr::Path(path) if path.path.is_ident("self")) {
            self.calls.insert(call.method.unraw().to_string());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = segments(path);
        if let [first, method] = &segments[..]
            && first == "Self"
        {
            self.calls.insert(method.clone());
        }
        self.path(segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.visit_path(&invocation.path);
        self.tokens(invocation.tokens.clone());
    }

    // `pub(in path)` and attributes are no imports.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn segments(path: &syn::Path) -> Segments {
    path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect()
}
