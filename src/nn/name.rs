//! The name of a parameter, as the path that leads to it.

use std::fmt::{self, Write};

/// Where a parameter stands in its model: `layers.0.weight`.
///
/// The path is a list of links on the stack, each pointing to its parent, so that walking through a
/// model allocates nothing. It prints as its parts joined by dots, and compares with text.
///
/// ```
/// # use tapegrad::nn::Name;
/// let (root, layer) = (Name::root(), 3);
/// let layers = root.field("layers");
/// let layer = layers.index(layer);
/// assert_eq!(layer.field("weight").to_string(), "layers.3.weight");
/// assert!(layer.field("weight") == "layers.3.weight");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Name<'a>(Link<'a>);

#[derive(Debug, Clone, Copy)]
enum Link<'a> {
    Root,
    Field(&'a Name<'a>, &'a str),
    Index(&'a Name<'a>, usize),
}

impl<'a> Name<'a> {
    /// The model itself: the empty path.
    pub const fn root() -> Self {
        Name(Link::Root)
    }

    /// The path of a field.
    pub const fn field(&'a self, name: &'a str) -> Self {
        Name(Link::Field(self, name))
    }

    /// The path of an element of a list.
    pub const fn index(&'a self, index: usize) -> Self {
        Name(Link::Index(self, index))
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = match &self.0 {
            Link::Root => return Ok(()),
            Link::Field(parent, _) | Link::Index(parent, _) => parent,
        };
        if !matches!(parent.0, Link::Root) {
            write!(f, "{parent}.")?;
        }
        match &self.0 {
            Link::Root => Ok(()),
            Link::Field(_, name) => f.write_str(name),
            Link::Index(_, index) => write!(f, "{index}"),
        }
    }
}

impl PartialEq<str> for Name<'_> {
    fn eq(&self, text: &str) -> bool {
        /// Takes what is written off the front of the text, and fails if it does not stand there.
        struct Expect<'a>(&'a str);
        impl Write for Expect<'_> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        let mut rest = Expect(text);
        write!(rest, "{self}").is_ok() && rest.0.is_empty()
    }
}

impl PartialEq<&str> for Name<'_> {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_its_parts_joined_by_dots() {
        let root = Name::root();
        assert_eq!(root.to_string(), "");
        let (layers, first) = (root.field("layers"), root.index(0));
        assert_eq!(layers.to_string(), "layers");
        assert_eq!(layers.index(12).field("bias").to_string(), "layers.12.bias");
        assert_eq!(first.field("weight").to_string(), "0.weight");
    }

    #[test]
    fn a_path_equals_its_own_text_alone() {
        let root = Name::root();
        let layers = root.field("layers");
        let name = layers.index(1);
        assert!(name == "layers.1");
        for other in ["layers.10", "layers.", "layers", "layer.1", "", "layers.1.weight"] {
            assert!(name != other, "{other}");
        }
        assert!(root == "" && root != "x");
    }
}
