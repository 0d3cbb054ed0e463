// The page of flow-exporter: asks the API (docs/api.md) and shows what it answers, as long as somebody looks.

import * as choices from './choice.js';
import { clean } from './show.js';
import { showStatus } from './status.js';
import { Traffic } from './traffic.js';

const connection = document.getElementById('connection');
const RETRY_MS = 10000;
/// Parameters of events: those exporters that are shown, and the status alone.
const MOST_EXPORTERS = 20;
const WITHOUT_TRAFFIC = 'traffic=no';

let views = [];
let choice = choices.read();
let stream = null;
/// What the stream was asked for.
let streamed = null;
let retry = null;
/// The choice for which panels are being asked about.
let refreshing = null;
/// Counts what was chosen so far: an answer that was asked for before the last choice is not shown.
let generation = 0;

const traffic = new Traffic(document.getElementById('traffic'), choose);

async function ask(path) {
  const answer = await fetch(path);
  if (answer.status === 431) throw Object.assign(new Error('The filters are too long: remove one'), { status: 431 });
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.error), { status: answer.status });
  return told;
}

/// Takes up another choice.
function choose(next, isNewPlace = true) {
  choice = next;
  choices.write(choice, isNewPlace);
  begin();
}

/// Asks anew for everything. A stream that has what is wanted goes on: the server notices late that one has ended, and has room for few.
async function begin() {
  clearTimeout(retry);
  const current = ++generation;
  const isCurrent = () => current === generation && !document.hidden;
  try {
    views = (await ask('api/v1/views')).views;
  } catch (error) {
    if (isCurrent()) later(`This page does not reach the program: ${error.message}.`);
    return;
  }
  if (!isCurrent()) return;
  traffic.showChoice(views, choice);
  const view = choices.viewFor(views, choice);
  const path = `api/v1/events?exporters=${MOST_EXPORTERS}&${view ? choices.query(view, choice, { limit: '0' }) : WITHOUT_TRAFFIC}`;
  if (stream?.readyState === EventSource.OPEN && streamed === path) {
    refresh();
    return;
  }
  listen(path);
}

function listen(path) {
  end();
  const own = new EventSource(path);
  const isCurrent = () => stream === own && !document.hidden;
  stream = own;
  streamed = path;
  stream.addEventListener('open', () => say(''));
  stream.addEventListener('status', (event) => {
    showStatus(JSON.parse(event.data));
    traffic.showWaiting();
  });
  stream.addEventListener('traffic', (event) => {
    traffic.showTotal(JSON.parse(event.data));
    refresh();
  });
  stream.addEventListener('error', async (event) => {
    if (event.data) {
      // Views have changed.
      later(JSON.parse(event.data).error);
      return;
    }
    if (own.readyState !== EventSource.CLOSED) {
      say('The connection is lost. Trying again…');
      return;
    }
    // Of a refusal, the stream does not tell the reason.
    try {
      await ask(path.replace('events', 'traffic').replace(`exporters=${MOST_EXPORTERS}&`, '').replace(WITHOUT_TRAFFIC, ''));
      if (isCurrent()) later('The program refuses another stream of events: too many pages are open.');
    } catch (error) {
      if (!isCurrent()) return;
      if (error.status === 404 && !path.endsWith(WITHOUT_TRAFFIC)) {
        traffic.showNone(error.message);
        listen(`api/v1/events?exporters=${MOST_EXPORTERS}&${WITHOUT_TRAFFIC}`);
      } else {
        later(error.message);
      }
    }
  });
}

/// Asks for the rows of all panels, one after the other: each takes a pass over the hour. Where that takes longer than it is to the next
/// event, that one only shows the total.
async function refresh() {
  const current = generation;
  const isCurrent = () => current === generation && !document.hidden;
  if (refreshing === current) return;
  refreshing = current;
  for (const panel of traffic.panels) {
    if (!isCurrent()) break;
    if (!panel.view) continue;
    try {
      const told = await ask(`api/v1/traffic?${panel.query(choice)}`);
      if (isCurrent()) panel.show(told);
    } catch (error) {
      if (isCurrent()) panel.showError(error.message);
    }
  }
  if (refreshing === current) refreshing = null;
}

function end() {
  stream?.close();
  stream = null;
  clearTimeout(retry);
}

function later(reason) {
  end();
  say(`${reason} Trying again in ${RETRY_MS / 1000} s…`);
  retry = setTimeout(begin, RETRY_MS);
}

/// Says it only if it is new, since screen readers read it out.
function say(words) {
  const text = clean(words, 500);
  if (connection.textContent !== text) connection.textContent = text;
}

addEventListener('popstate', () => {
  choice = choices.read();
  begin();
});
// A page that nobody sees costs nothing.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    generation += 1;
    end();
  } else {
    begin();
  }
});
begin();
