// What is looked at: filters, a search and a measure. All of it is in the address of the page, so that a view can be shared, and
// the browser's "back" leads to the one before.

/// The most characters of a search.
export const LONGEST_SEARCH = 200;

/// { filters: [[label, value], …], search, measure }
export function read() {
  const query = new URLSearchParams(location.search);
  const filters = query
    .getAll('filter')
    .slice(0, 16)
    .map((text) => [text.slice(0, Math.max(0, text.indexOf(':'))), text.slice(text.indexOf(':') + 1)])
    .filter(([label]) => label !== '');
  return { filters, search: (query.get('search') ?? '').slice(0, LONGEST_SEARCH), measure: query.get('measure') ?? 'bytes' };
}

export function write(choice, isNewPlace) {
  const query = new URLSearchParams();
  for (const [label, value] of choice.filters) query.append('filter', `${label}:${value}`);
  if (choice.search) query.set('search', choice.search);
  if (choice.measure !== 'bytes') query.set('measure', choice.measure);
  const text = query.toString();
  history[isNewPlace ? 'pushState' : 'replaceState'](null, '', text ? `?${text}` : location.pathname);
}

export const withFilters = (choice, more) => ({
  ...choice,
  filters: [
    ...choice.filters,
    ...more.filter(([label, value]) => !choice.filters.some(([l, v]) => l === label && v === value)),
  ],
});

export const withoutFilter = (choice, at) => ({ ...choice, filters: choice.filters.filter((_, each) => each !== at) });

/// The labels that `by` and filters of a view take.
export const labelsOf = (view) => [...view.derived_labels, ...view.labels];

/// The first of these views that has all labels that are filtered by, and the others asked for; rather one that counts the
/// chosen measure.
export function viewFor(views, choice, labels = []) {
  const wanted = [...labels, ...choice.filters.map(([label]) => label)];
  const fitting = views.filter((view) => wanted.every((label) => labelsOf(view).includes(label)));
  return fitting.find((view) => view.measures.includes(choice.measure)) ?? fitting[0];
}

/// What is asked of the API.
export function query(view, choice, more) {
  const measure = view.measures.includes(choice.measure) ? choice.measure : view.measures[0];
  const query = new URLSearchParams({ view: view.name, measure, ...more });
  for (const [label, value] of choice.filters) query.append('filter', `${label}:${value}`);
  return query.toString();
}
