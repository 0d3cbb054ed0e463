// How the program is: its parts, what it reads, what it lost, where it sends. The server writes the parts into the page as well, for
// those who look without scripts.

import { bytes, clean, count, foreign, make, span } from './show.js';

const overall = document.getElementById('overall');
const parts = document.getElementById('components');
const details = document.getElementById('details');
/// Characters of a reason that are shown.
const LONGEST_REASON = 2000;

export function showStatus(told) {
  const worst = told.components.find(({ state }) => !['ready', 'finished'].includes(state));
  const word = worst ? worst.state : 'ready';
  const text = worst ? `${clean(worst.name)}: ${word}` : 'ready';
  // Screen readers read out what changes here.
  if (overall.textContent !== text) overall.replaceChildren(state(word, text));
  parts.replaceChildren(...told.components.map((each) =>
    make('tr', {}, make('th', { scope: 'row' }, foreign(each.name)), make('td', {}, state(each.state, each.state)),
      make('td', {}, foreign(each.reason ?? '', LONGEST_REASON)))));
  const lists = [...details.querySelectorAll('details')].map((each) => [each.id, each.open, each.querySelector('.scroll').scrollLeft]);
  const focused = details.contains(document.activeElement) ? document.activeElement.closest('details')?.id : undefined;
  details.replaceChildren(facts(told), ...[endpoints(told), exporters(told)].filter((each) => each !== null));
  for (const [id, isOpen, left] of lists) {
    const list = document.getElementById(id);
    if (!list) continue;
    list.open = isOpen;
    list.querySelector('.scroll').scrollLeft = left;
    if (id === focused) list.querySelector('summary').focus({ preventScroll: true });
  }
}

const state = (word, text) => make('span', { class: `state ${word}` }, text);

function facts(told) {
  const { source, flows, history } = told;
  const facts = [
    ['Counted until', source.counted_until === null ? 'nothing yet' : `${span(source.behind_seconds ?? 0)} ago`],
    ['Newest flow', source.newest_flow === null ? 'none yet' : `${span(told.time - source.newest_flow)} ago`],
  ];
  if (source.kafka) {
    facts.push(['Behind in Kafka', `${count(source.kafka.lag_messages ?? 0)} messages in ${count(source.kafka.partitions)} partitions`]);
    facts.push(['Lost in Kafka', `${count(source.kafka.lost_messages)} messages`, source.kafka.lost_messages > 0]);
  }
  if (source.collector) {
    const { socket_drops: drops, missing_datagrams: datagrams, missing_flows: flows } = source.collector;
    facts.push(['Lost on the way', `${count(datagrams)} datagrams, ${count(flows)} flows`, datagrams + flows > 0]);
    facts.push(['Lost in the socket', `${count(drops)} datagrams`, drops > 0]);
    facts.push(['Refused datagrams', reasons(source.collector.refused_datagrams)]);
  }
  facts.push(['Flows counted', count(flows.counted)]);
  facts.push(['Flows not counted', reasons(flows.ignored)]);
  facts.push(['Not readable', reasons(flows.malformed), total(flows.malformed) > 0]);
  for (const view of told.views) {
    const name = told.views.length > 1 ? `Series of ${view.name}` : 'Series';
    const other = view.other_bytes > 0 ? `; ${bytes(view.other_bytes)} in others` : '';
    facts.push([name, `${count(view.series)} of ${count(view.max_series)}${other}`, view.other_bytes > 0]);
  }
  if (history) {
    const reach = history.since === null ? 'nothing yet' : span(told.time - history.since);
    facts.push(['History', `${reach}, ${bytes(history.bytes)} of ${bytes(history.max_bytes)}`]);
  }
  facts.push(['Memory', bytes(told.process.resident_bytes)]);
  facts.push(['Running for', span(told.time - told.process.started)]);
  return make('dl', { class: 'facts' }, ...facts.map(([name, value, isBad]) =>
    make('div', { class: isBad ? 'bad' : false }, make('dt', {}, name), make('dd', {}, value))));
}

const total = (byReason) => Object.values(byReason ?? {}).reduce((sum, each) => sum + each, 0);

function reasons(byReason) {
  const some = Object.entries(byReason ?? {}).filter(([, number]) => number > 0);
  return some.length === 0 ? 'none' : some.map(([reason, number]) => `${count(number)} ${reason.replaceAll('_', ' ')}`).join(', ');
}

function endpoints(told) {
  if (told.endpoints.length === 0) return null;
  const rows = told.endpoints.map((each) => [
    foreign(each.name),
    make('div', {}, state(each.state, each.state), make('small', {}, foreign(each.reason ?? '', LONGEST_REASON))),
    [each.protocol, each.compression].filter(Boolean).join(', ') || '–',
    each.samples.pending === 0 ? 'nothing'
      : `${count(each.samples.pending)} samples` + (each.oldest_pending ? `, ${span(told.time - each.oldest_pending)}` : ''),
    each.confirmed_per_second === null ? '–' : `${count(Math.round(each.confirmed_per_second))}/s`,
    count(each.samples.dropped),
  ]);
  return list('push', 'Push', ['Endpoint', 'State', 'Protocol', 'Waits', 'Confirmed', 'Dropped'], rows);
}

/// Those who send flows; of many, those in trouble and those that send most.
function exporters(told) {
  const { exporters: some, exporter_count: all, troubled_exporter_count: troubled } = told.source.collector ?? { exporters: [] };
  if (some.length === 0) return null;
  const rows = some.map((each) => [
    make('div', {}, foreign(each.hostname ?? each.exporter), each.hostname === null ? '' : make('small', {}, ` ${each.exporter}`)),
    each.flows_per_second === null ? '–' : `${count(Math.round(each.flows_per_second))}/s`,
    lost(each),
    each.sampling_rate === null ? 'unknown' : `1 of ${count(each.sampling_rate)}`,
    each.awaited_templates === 0 ? 'none' : bad(`${each.awaited_templates}: flows wait`),
    undecoded(each),
    lastHeard(told.time, each.last_datagram),
  ]);
  const names = ['Exporter', 'Flows', 'Missing', 'Sampling', 'Templates awaited', 'Not decoded', 'Last heard'];
  const rest = all > some.length
    ? make('p', { class: 'quiet' }, `${count(all - some.length)} more. Silent or waiting for templates: ${count(troubled)} of ${count(all)}. `,
      make('a', { href: 'api/v1/status' }, 'All in JSON'))
    : null;
  return list('exporters', `Exporters (${count(all)})`, names, rows, rest);
}

const bad = (text) => make('span', { class: 'bad' }, text);

/// What is missing by sequence numbers, and what the exporter's own sFlow agent dropped.
function lost(exporter) {
  const numbers = [
    [total(exporter.missing_datagrams), 'datagrams'], [total(exporter.missing_flows), 'flows'],
    [exporter.dropped_samples, 'samples dropped by the agent'],
  ].filter(([number]) => number > 0);
  return numbers.length === 0 ? 'none' : bad(numbers.map(([number, unit]) => `${count(number)} ${unit}`).join(', '));
}

/// What could not be decoded and is not decoded since.
function undecoded(exporter) {
  const { replayed = 0, no_template: waited = 0, ...others } = exporter.undecoded;
  const text = reasons({ 'without template': Math.max(0, waited - replayed), ...others });
  return text === 'none' ? text : bad(text);
}

/// Templates come each minute or so: who says nothing for five is silent.
function lastHeard(now, last) {
  if (last === null) return '–';
  const text = `${span(now - last)} ago`;
  return now - last > 300 ? bad(text) : text;
}

function list(id, title, names, rows, rest = null) {
  return make('details', { id, open: rows.length <= 10 },
    make('summary', {}, title),
    make('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title },
      make('table', {},
        make('thead', {}, make('tr', {}, ...names.map((name) => make('th', { scope: 'col' }, name)))),
        make('tbody', {}, ...rows.map(([first, ...others]) =>
          make('tr', {}, make('th', { scope: 'row' }, first), ...others.map((each) => make('td', {}, each))))))),
    rest);
}
