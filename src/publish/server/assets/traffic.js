// Who talks to whom: rates, the curve of the last hour, and the heaviest values of each label.

import { LONGEST_SEARCH, labelsOf, query, viewFor, withFilters, withoutFilter } from './choice.js';
import { CLASSES, clean, foreign, labelName, make, percent, rate, span, unitOf, valueName } from './show.js';

const FEW_ROWS = 10;
const MANY_ROWS = 100;
const SEARCH_DELAY_MS = 300;
/// What may be between two labels of the curve's times, in seconds.
const BETWEEN_TIMES = [60, 300, 600, 900, 1800];
/// The seconds between two points of the curve, and between two events.
const STEP = 60;
const EVENTS = 5;
/// So soon after the beginning, that nothing was counted says nothing, in seconds.
const SOON = 10;
const NOTHING_YET = 'No flows are counted yet.';
const SEE_STATUS = 'How the parts of the program are';

/// Labels whose panels come first, in this order.
const FIRST = [
  'remote_as', 'remote_country', 'service_port', 'application', 'protocol', 'input_interface_name', 'output_interface_name',
  'hostname', 'exporter', 'site',
];

/// What each panel shows: labels of one view, each label once. Source and destination are shown as pairs of ASes alone where
/// there is a remote end.
function panelsOf(views) {
  const labels = new Set(views.flatMap(labelsOf));
  const hasRemote = (label) => labels.has(label.replace(/^(source|destination)_/, 'remote_'));
  const isShown = (label) => !/^(source|destination)_/.test(label) || !hasRemote(label);
  const shown = [...labels].filter(isShown);
  shown.sort((a, b) => place(a) - place(b));
  const panels = shown.map((label) => [label]);
  const pair = ['source_as', 'destination_as'];
  if (views.some((view) => pair.every((label) => view.labels.includes(label)))) panels.splice(1, 0, pair);
  return panels;
}

const place = (label) => (FIRST.includes(label) ? FIRST.indexOf(label) : FIRST.length);

export class Traffic {
  /// `choose` is called with what the user chooses.
  constructor(root, choose) {
    this.root = root;
    this.choose = choose;
    this.panels = [];
    this.rates = make('div', { class: 'rates' });
    this.curve = new Curve();
    this.awaited = make('p', { class: 'awaited', hidden: true });
    this.note = make('p', { class: 'quiet' });
    this.filters = make('ul', { class: 'filters', 'aria-label': 'Filters' });
    this.search = make('input', { type: 'search', id: 'search', placeholder: 'AS, name, router…', maxlength: LONGEST_SEARCH, autocomplete: 'off' });
    this.search.addEventListener('input', () => {
      clearTimeout(this.searching);
      this.searching = setTimeout(() => choose({ ...this.choice, search: this.search.value.trim() }, false), SEARCH_DELAY_MS);
    });
    this.measure = make('select', { id: 'measure' });
    this.measure.addEventListener('change', () => choose({ ...this.choice, measure: this.measure.value }));
    this.grid = make('div', { class: 'panels' });
    root.append(
      make('form', { class: 'choice', role: 'search' },
        make('label', { for: 'search' }, 'Search'), this.search,
        make('label', { for: 'measure' }, 'Unit'), this.measure),
      this.filters,
      make('section', { 'aria-label': 'Traffic' }, this.rates, this.curve.root, this.awaited, this.note),
      this.grid,
    );
    root.querySelector('form').addEventListener('submit', (event) => event.preventDefault());
  }

  showChoice(views, choice) {
    this.choice = choice;
    this.root.hidden = false;
    if (document.activeElement !== this.search) this.search.value = choice.search;
    const measures = [...new Set(views.flatMap((view) => view.measures))];
    this.measure.replaceChildren(...measures.map((measure) =>
      make('option', { value: measure, selected: measure === choice.measure }, measure === 'bytes' ? 'bits' : measure)));
    this.measure.disabled = measures.length < 2;
    this.filters.replaceChildren(...choice.filters.map(([label, value], at) => {
      const named = valueName(label, value, null, false);
      return make('li', {}, make('button', {
        type: 'button',
        'aria-label': `Remove the filter ${clean(labelName(label))}: ${words(named)}`,
        onclick: () => this.choose(withoutFilter(this.choice, at)),
      }, foreign(labelName(label)), ': ', ...shown(named), ' ', make('span', { 'aria-hidden': 'true' }, '×')));
    }));
    const view = viewFor(views, choice);
    this.note.textContent = view ? '' : 'No view has all of these labels: remove a filter.';
    if (!view) this.showNoCurve();
    this.views = views;
    const wanted = panelsOf(views);
    const isSame = wanted.length === this.panels.length && wanted.every((labels, at) => `${labels}` === `${this.panels[at].labels}`);
    if (!isSame) {
      this.panels = wanted.map((labels) => new Panel(labels, this));
      this.grid.replaceChildren(...this.panels.map((panel) => panel.root));
    }
    for (const panel of this.panels) panel.prepare(views, choice);
  }

  /// Shows why there is nothing.
  showNone(reason) {
    this.note.textContent = clean(reason, 500);
    this.showNoCurve();
    this.grid.replaceChildren();
    this.panels = [];
  }

  showNoCurve() {
    this.rates.replaceChildren();
    this.curve.root.hidden = true;
    this.awaited.hidden = true;
  }

  /// Shows what is awaited in the place of the curve.
  showAwaited(text, why) {
    this.curve.root.hidden = true;
    this.awaited.hidden = false;
    if (this.awaited.dataset.text === text) return;
    this.awaited.dataset.text = text;
    this.awaited.replaceChildren(text, ...(why ? [' ', make('a', { href: '#health' }, why)] : []));
  }

  /// The program has said how it is. Before it has published anything, it says nothing else.
  showWaiting() {
    if (this.rates.childElementCount === 0 && this.note.textContent === '') {
      this.showAwaited(NOTHING_YET, SEE_STATUS);
    }
  }

  showTotal(told) {
    const units = told.measure === 'bytes' ? ['bytes', 'packets', 'flows'] : [told.measure, 'bytes', 'packets', 'flows'];
    this.rates.replaceChildren(...told.classes.map((each) => {
      const of = told.total[each];
      const [first, ...others] = [...new Set(units)].map(unitOf).filter((unit) => unit in of);
      return make('div', { class: `rate ${each}`, title: CLASSES[each].title },
        make('h2', {}, CLASSES[each].name),
        make('strong', {}, rate(of[first], first)),
        make('p', { class: 'quiet' }, others.map((unit) => rate(of[unit], unit)).join(' · ')));
    }));
    const known = told.time === null ? 0 : told.time - (told.since ?? told.time);
    const isNothing = told.curve.time.every((_, at) => told.classes.every((each) => !told.curve[each][at]));
    if (told.time === null) {
      this.note.textContent = '';
      this.showAwaited(NOTHING_YET, SEE_STATUS);
      return;
    }
    const behind = Date.now() / 1000 - told.time;
    this.note.textContent = `Averages of ${span(told.over_seconds)}.`
      + (behind > 120 ? ` What is counted now was sent ${span(behind)} ago.` : '');
    if (isNothing && known > SOON) {
      const past = span(Math.min(known, 3600));
      if (this.choice.filters.length > 0) this.showAwaited(`Within the last ${past}, no flows passed the filters.`);
      else this.showAwaited(`No flows were counted within the last ${past}.`, SEE_STATUS);
    } else if (told.curve.time.length < 2) {
      // A line takes two points; the first one ends with the minute.
      const seconds = Math.ceil((STEP - (told.time % STEP)) / EVENTS) * EVENTS;
      this.showAwaited(`The curve has a value for each minute: the first ones come in about ${seconds} s.`);
    } else {
      this.awaited.hidden = true;
      this.curve.root.hidden = false;
      this.curve.show(told);
    }
  }
}

/// The curve of an hour, by class.
class Curve {
  constructor() {
    this.root = make('div', { class: 'curve', role: 'img' });
    const redraw = () => this.told && this.draw(this.told);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.root);
  }

  size() {
    return { width: Math.max(200, this.root.clientWidth), height: 220 };
  }

  show(told) {
    const isSame = this.told && this.told.curve.unit === told.curve.unit && `${this.told.classes}` === `${told.classes}`;
    this.told = told;
    this.root.setAttribute('aria-label', `Curve of the last hour. Now: ${told.classes.map((each) =>
      `${CLASSES[each].name} ${rate(told.curve[each].at(-1), told.curve.unit)}`).join(', ')}`);
    if (this.plot && isSame) this.plot.setData(this.data(told));
    else this.draw(told);
  }

  data(told) {
    return [told.curve.time, ...told.classes.map((each) => told.curve[each])];
  }

  draw(told) {
    // As the reader's language writes it.
    const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line') } };
    const { unit } = told.curve;
    this.plot?.destroy();
    this.plot = new uPlot({
      ...this.size(),
      cursor: { y: false },
      legend: { live: true },
      // A few points make no long line.
      scales: { x: { range: (_, first, last) => [Math.min(first, last - 300), last] }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
      axes: [{ ...axis, space: 80, incrs: BETWEEN_TIMES, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 90, values: (_, ticks) => ticks.map((tick) => rate(tick, unit)) }],
      series: [
        { value: (_, time) => (time === null ? '–' : new Date(time * 1000).toLocaleTimeString()) },
        ...told.classes.map((each) => ({
          label: CLASSES[each].name,
          stroke: colour(`--${each}`),
          fill: `${colour(`--${each}`)}22`,
          width: 2,
          points: { show: told.curve.time.length < 3 },
          value: (_, value) => rate(value, unit),
        })),
      ],
    }, this.data(told), this.root);
  }
}

/// The heaviest values of a label, or pairs of values.
class Panel {
  constructor(labels, traffic) {
    this.labels = labels;
    this.traffic = traffic;
    this.limit = FEW_ROWS;
    this.title = make('h2', {}, foreign(labels.map(labelName).join(' → ')));
    const about = `about-${labels.join('-')}`;
    this.note = make('p', { class: 'quiet', id: about });
    this.body = make('tbody');
    this.heads = ['Name', 'Last hour', 'Rate', 'Share'].map((name) => make('th', { scope: 'col' }, name));
    this.more = make('button', { type: 'button', class: 'more', hidden: true, onclick: () => this.toggle() });
    this.root = make('section', { 'aria-label': this.title.textContent, 'data-labels': labels.join(',') },
      this.title, this.note,
      make('table', { 'aria-describedby': about },
        make('colgroup', {}, ...['name', 'curve', 'rate', 'share'].map((name) => make('col', { class: `col-${name}` }))),
        make('thead', { class: 'unseen' }, make('tr', {}, ...this.heads)),
        this.body),
      this.more);
  }

  prepare(views, choice) {
    this.view = viewFor(views, choice, this.labels);
    // A row is of all classes together, unlike the numbers above.
    const classes = this.view?.classes.map((each) => CLASSES[each].name).join(' + ');
    this.about = this.view ? `Rates: ${classes}, view ${this.view.name}` : '';
    if (this.view) this.heads[2].textContent = `Rate, ${classes}`;
    this.note.textContent = this.view ? this.about : 'No view has this label beside those of the filters.';
    this.root.classList.toggle('empty', !this.view);
    if (!this.view) {
      this.body.replaceChildren();
      this.more.hidden = true;
    }
  }

  toggle() {
    this.limit = this.limit === FEW_ROWS ? MANY_ROWS : FEW_ROWS;
    this.traffic.choose(this.traffic.choice, false);
  }

  query(choice) {
    const more = { by: this.labels.join(','), limit: String(this.limit) };
    if (choice.search) more.search = choice.search;
    return query(this.view, choice, more);
  }

  show(told) {
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const { unit } = told.curve;
    const rateOf = (row) => told.classes.reduce((sum, each) => sum + (row[each][unit] ?? 0), 0);
    const rows = told.rows.map((row) => this.row(told, row, rateOf(row)));
    if (told.rest.rows > 0) {
      rows.push(make('tr', { class: 'rest' },
        make('th', { scope: 'row' }, `${told.rest.rows.toLocaleString('en')} more`),
        make('td', {}, spark(told, told.rest)),
        make('td', {}, rate(rateOf(told.rest), unit)), make('td', {}, percent(told.rest.share))));
    }
    this.body.replaceChildren(...rows);
    if (focused !== null) {
      const again = [...this.body.querySelectorAll('button')].find((button) => button.dataset.key === focused);
      again?.focus({ preventScroll: true });
    }
    const nothing = this.traffic.choice.search ? 'Nothing has this in its name.' : 'Nothing within the last minute.';
    this.note.textContent = told.rows.length > 0 ? this.about : nothing;
    this.more.hidden = told.rows.length === 0 || (this.limit === FEW_ROWS && told.rest.rows === 0);
    this.more.textContent = this.limit === FEW_ROWS ? 'Show more' : 'Show fewer';
  }

  row(told, row, total) {
    const filters = this.labels.map((label, at) => [label, row.values[at]]);
    const names = this.labels.map((label, at) => valueName(label, row.values[at], row.names[at], row.is_other));
    const text = names.flatMap((named, at) => [at > 0 ? ' → ' : '', ...shown(named)]);
    const said = names.map(words).join(' to ');
    const button = make('button', {
      type: 'button',
      'data-key': row.values.join('\u0000'),
      'aria-label': `Filter by ${said}`,
      onclick: () => this.traffic.choose(withFilters(this.traffic.choice, filters)),
    }, ...text);
    const tr = make('tr', {},
      make('th', { scope: 'row' }, button),
      make('td', {}, spark(told, row)),
      make('td', {}, rate(total, told.curve.unit)),
      make('td', {}, percent(row.share)));
    tr.style.setProperty('--share', row.share ?? 0);
    return tr;
  }

  showError(reason) {
    this.note.textContent = clean(reason, 500);
  }
}

/// A value as it is named, for the eye.
const shown = ({ name, detail }) => [foreign(name), detail && name !== detail ? make('small', {}, ` ${clean(detail)}`) : ''];

/// The same for screen readers.
const words = ({ name, detail }) => `${clean(name)} ${clean(detail)}`.trim();

/// A small curve of a row: the sum of all classes.
function spark(told, row) {
  const values = told.curve.time.map((_, at) => told.classes.reduce((sum, each) => sum + (row.curve[each]?.[at] ?? 0), 0));
  const [width, height] = [80, 20];
  const highest = Math.max(...values, 1);
  const [first, last] = [told.curve.time[0], told.curve.time.at(-1)];
  const points = values.map((value, at) => {
    const x = last > first ? ((told.curve.time[at] - first) / (last - first)) * width : width;
    return `${x.toFixed(1)},${(height - 1 - (value / highest) * (height - 2)).toFixed(1)}`;
  });
  const make = (name, attributes) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const svg = make('svg', { viewBox: `0 0 ${width} ${height}`, width, height, 'aria-hidden': 'true', class: 'spark' });
  svg.append(make('polyline', { points: points.join(' ') }));
  return svg;
}
