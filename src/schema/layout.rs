//! The schema: all views, and the key width, counts, metrics and fields that follow from them.

use super::{
    class::Class,
    dimension::Dimension,
    family::Family,
    key::{KeyHead, MAX_KEY_WIDTH},
    view::View,
};

/// Everything that is counted: the views, and what follows from them.
///
/// Views that are no longer configured may stand behind those that are: their series end, and no
/// flow is counted in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    views: Vec<View>,
    /// How many of the views are configured; the others are retired.
    configured: usize,
    key_width: usize,
    counts: usize,
    families: Vec<Family>,
    dimensions: Vec<Dimension>,
}

impl Schema {
    /// The most views.
    pub const MAX_VIEWS: usize = 255;

    /// A schema of these views.
    ///
    /// # Panics
    /// If there are more than [`Schema::MAX_VIEWS`], or one has more dimensions than a key can hold.
    pub fn new(views: Vec<View>) -> Self {
        let configured = views.len();
        Self::with_configured(views, configured)
    }

    /// The original's view alone.
    pub fn original() -> Self {
        Schema::new(vec![View::original()])
    }

    /// The same with these views behind the others, retired.
    ///
    /// # Panics
    /// As [`Schema::new`].
    #[must_use]
    pub fn with_retired(&self, retired: impl IntoIterator<Item = View>) -> Self {
        let views = self.views.iter().cloned().chain(retired).collect();
        Self::with_configured(views, self.configured)
    }

    fn with_configured(views: Vec<View>, configured: usize) -> Self {
        assert!(views.len() <= Self::MAX_VIEWS, "a key tells no more than 255 views apart");
        let key_width = views.iter().map(View::key_width).max().unwrap_or(1);
        assert!(key_width <= MAX_KEY_WIDTH, "a key has no more than {MAX_KEY_WIDTH} columns");
        let counts = views.iter().map(|view| view.measures().len()).max().unwrap_or(1);
        let mut families = Vec::new();
        for (place, view) in views[..configured].iter().enumerate() {
            for &class in view.classes() {
                for (count, &measure) in view.measures().iter().enumerate() {
                    families.push(Family {
                        view: place as u8,
                        class,
                        measure,
                        count,
                        name: view.metric_name(class, measure),
                        help: view.help(class, measure),
                    });
                }
            }
        }
        let mut dimensions = Vec::new();
        for dimension in views[..configured].iter().flat_map(View::dimensions) {
            if !dimensions.contains(dimension) {
                dimensions.push(dimension.clone());
            }
        }
        Schema { views, configured, key_width, counts, families, dimensions }
    }

    /// The views, those that are retired last.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// The views in which flows are counted.
    pub fn configured(&self) -> &[View] {
        &self.views[..self.configured]
    }

    /// The view of a series.
    ///
    /// # Panics
    /// If the key is of another schema.
    pub fn view(&self, head: KeyHead) -> &View {
        &self.views[usize::from(head.view)]
    }

    /// Columns of a key. Keys of views with fewer dimensions end with zeros.
    pub fn key_width(&self) -> usize {
        self.key_width
    }

    /// Counts of a series. Series of views with fewer measures end with zeros.
    pub fn counts(&self) -> usize {
        self.counts
    }

    /// The first column of the keys of the series in which a view counts flows of a class, whatever
    /// it calls the class; `None` where it does not count them.
    pub fn head(&self, view: usize, class: Class) -> Option<KeyHead> {
        self.views[view].counted_as(class).map(|class| KeyHead::new(view as u8, class))
    }

    /// The metrics of the configured views, in the order in which they are exposed.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// How many series the configured views may have together, besides those for the rest.
    pub fn max_series(&self) -> usize {
        self.configured().iter().map(View::max_series).fold(0, usize::saturating_add)
    }

    /// The dimensions of the configured views, each once.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Measure;
    use super::*;

    #[test]
    fn families_dimensions_and_widths_follow_from_the_configured_views() {
        let schema = Schema::original();
        let names: Vec<_> = schema.families().iter().map(|family| &*family.name).collect();
        assert_eq!(names, ["flow_receive_bytes_total", "flow_transmit_bytes_total"]);
        assert_eq!((schema.key_width(), schema.counts()), (4, 1));
        let dimensions = [Dimension::DESTINATION_AS, Dimension::Hostname, Dimension::SOURCE_AS];
        assert_eq!(schema.dimensions(), dimensions);

        let small = View::new(
            "device",
            &[Dimension::Hostname],
            &[Class::Transit],
            &[Measure::Packets, Measure::Flows],
        );
        let retired = schema.with_retired([small.clone()]);
        assert_eq!(retired.families(), schema.families());
        assert_eq!(retired.views().len(), 2);
        assert_eq!(retired.dimensions(), dimensions);

        let both = Schema::new(vec![small, View::original()]);
        let places = both.families().iter().map(|family| (family.view, family.count));
        assert_eq!(places.collect::<Vec<_>>(), [(0, 0), (0, 1), (1, 0), (1, 0)]);
        assert_eq!((both.key_width(), both.counts()), (4, 2));
        let dimensions = [Dimension::Hostname, Dimension::DESTINATION_AS, Dimension::SOURCE_AS];
        assert_eq!(both.dimensions(), dimensions);
    }
}
