//! Families: metrics with labels, of which all series exist from the start.

use std::fmt;

use metrics::{Key, Label};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{Kind, Series};

/// Counters of one metric, one for each value of one label; all exist from the start.
pub struct Family<T>(Vec<(&'static str, T)>);

impl<T> Family<T> {
    /// The series of a label value.
    ///
    /// # Panics
    /// If the value is not one of those that the family was made with: a mistake in the code.
    #[must_use]
    pub fn with(&self, value: &str) -> &T {
        let found = self.0.iter().find(|(name, _)| *name == value);
        &found.expect("label values come from the fixed lists above").1
    }
}

impl<T> Family<T> {
    /// All label values with their series.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        self.0.iter().map(|(value, series)| (*value, series))
    }
}

impl<T> fmt::Debug for Family<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl<T: Kind> Series for Family<T> {
    fn make(
        recorder: &PrometheusRecorder,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &[&'static str])],
    ) -> Self {
        T::describe(recorder, name, help);
        let (label, values) = labels[0];
        let series = |value: &&'static str| {
            let key = Key::from_parts(name, vec![Label::from_static_parts(label, value)]);
            (*value, T::register(recorder, &key))
        };
        Self(values.iter().map(series).collect())
    }
}

/// Counters of one metric with two labels.
#[derive(Debug)]
pub struct Family2<T>(Vec<(&'static str, Family<T>)>);

impl<T> Family2<T> {
    /// The series of two label values.
    ///
    /// # Panics
    /// If a value is not one of those that the family was made with: a mistake in the code.
    #[must_use]
    pub fn with(&self, first: &str, second: &str) -> &T {
        let found = self.0.iter().find(|(name, _)| *name == first);
        found.expect("label values come from the fixed lists above").1.with(second)
    }
}

impl<T> Family2<T> {
    /// All values of the first label with the families of the second.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Family<T>)> {
        self.0.iter().map(|(value, family)| (*value, family))
    }
}

impl<T: Kind> Series for Family2<T> {
    fn make(
        recorder: &PrometheusRecorder,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &[&'static str])],
    ) -> Self {
        T::describe(recorder, name, help);
        let ((first, firsts), (second, seconds)) = (labels[0], labels[1]);
        let inner = |one: &&'static str| {
            let series = |two: &&'static str| {
                let labels = vec![Label::from_static_parts(first, one), Label::from_static_parts(second, two)];
                (*two, T::register(recorder, &Key::from_parts(name, labels)))
            };
            (*one, Family(seconds.iter().map(series).collect()))
        };
        Self(firsts.iter().map(inner).collect())
    }
}
