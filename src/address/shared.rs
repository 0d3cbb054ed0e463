//! A value that is replaced as a whole while others use it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// A value that is replaced as a whole while others use it. A handle: clones have the same value.
#[derive(Debug)]
pub struct Shared<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    value: Mutex<Arc<T>>,
    /// How often the value was replaced.
    version: AtomicU64,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    /// Shares a value.
    pub fn new(value: Arc<T>) -> Self {
        Shared(Arc::new(Inner { value: Mutex::new(value), version: AtomicU64::new(0) }))
    }

    /// Replaces the value. What has the previous one keeps it until it looks for the latest.
    pub fn replace(&self, value: Arc<T>) {
        let mut current = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        *current = value;
        self.0.version.fetch_add(1, Ordering::Release);
    }

    /// The latest value, to be kept by one user.
    pub fn view(&self) -> View<T> {
        let (version, value) = self.load();
        View { shared: self.clone(), version, value }
    }

    fn load(&self) -> (u64, Arc<T>) {
        let value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, the version is that of the value.
        (self.0.version.load(Ordering::Acquire), Arc::clone(&value))
    }
}

/// One user's copy of a [`Shared`] value.
#[derive(Debug)]
pub struct View<T> {
    shared: Shared<T>,
    version: u64,
    value: Arc<T>,
}

impl<T> View<T> {
    /// The latest value. Costs the look at one atomic number, unless it was replaced.
    pub fn latest(&mut self) -> &T {
        if self.shared.0.version.load(Ordering::Acquire) != self.version {
            (self.version, self.value) = self.shared.load();
        }
        &self.value
    }

    /// The value that [`latest`](Self::latest) found.
    pub fn get(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_keeps_its_value_until_it_looks_for_the_latest() {
        let shared = Shared::new(Arc::new(1));
        let mut view = shared.view();
        shared.replace(Arc::new(2));
        assert_eq!(*view.get(), 1);
        assert_eq!((*view.latest(), *view.get()), (2, 2));
        shared.clone().replace(Arc::new(3));
        shared.replace(Arc::new(4));
        assert_eq!((*view.latest(), *shared.view().get()), (4, 4));
    }

    #[test]
    fn the_previous_value_is_freed_with_its_last_view() {
        let (first, second) = (Arc::new(1), Arc::new(2));
        let shared = Shared::new(Arc::clone(&first));
        let mut view = shared.view();
        shared.replace(Arc::clone(&second));
        assert_eq!(Arc::strong_count(&first), 2);
        view.latest();
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 3));
    }
}
