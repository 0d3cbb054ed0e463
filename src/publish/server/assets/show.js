// How values are written, and how elements are made.

/// Makes an element. What comes from routers, receivers and records is set as text, never as HTML.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === 'onclick') element.addEventListener('click', value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/// The most characters of a text of others that are shown; a tooltip has all of it.
const LONGEST = 100;

/// What can't be seen, or would change the order of what is around it.
const UNSEEN = /[\p{Cc}\p{Bidi_Control}\u200B\u2060-\u206F]/gu;

/// More accents on a letter than a language has, which would cover other lines.
const STACKED = /(\p{M}{3})\p{M}+/gu;

/// A text of others in one line, with a sign where something can't be seen.
export function clean(text, longest = LONGEST) {
  const seen = text.replace(/\s+/gu, ' ').replace(UNSEEN, '\uFFFD').replace(STACKED, '$1');
  // Two UTF-16 units may be a character, so this is enough of them.
  const letters = [...seen.slice(0, 2 * longest + 2)];
  return letters.length > longest ? `${letters.slice(0, longest).join('')}…` : seen;
}

/// A text of others as an element, in a direction of its own.
export function foreign(text, longest = LONGEST) {
  const shown = clean(text, longest);
  return make('bdi', { title: shown === text ? false : text }, shown);
}

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P', 'E'];

/// A number with three digits that count and an SI prefix: "12.3 k".
function short(value) {
  let power = 0;
  while (Math.abs(value) >= 999.5 && power < PREFIXES.length - 1) {
    value /= 1000;
    power += 1;
  }
  const digits = power === 0 && Number.isInteger(value) ? 0 : Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${PREFIXES[power]}`;
}

const UNITS = {
  bits_per_second: 'bit/s',
  packets_per_second: 'packets/s',
  flows_per_second: 'flows/s',
};

/// A rate in one of the API's units: "12.3 Mbit/s".
export function rate(value, unit) {
  if (value === null || value === undefined) return '–';
  const text = short(value);
  // A prefix belongs to bits; what is counted in words has none but "k" and "M", with the space before the word.
  return unit === 'bits_per_second' ? `${text}bit/s` : `${text.trim()} ${UNITS[unit]}`;
}

/// The unit of a measure's rates in the API.
export const unitOf = (measure) =>
  measure === 'bytes' ? 'bits_per_second' : `${measure}_per_second`;

export const count = (value) => value.toLocaleString('en');

export function bytes(value) {
  let power = 0;
  while (value >= 1024 && power < 4) {
    value /= 1024;
    power += 1;
  }
  return `${power === 0 ? value : value.toFixed(1)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

export const percent = (share) => (share === null ? '–' : `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`);

/// A span of time: "1.5 s", "12 min", "3.2 h", "14 days".
export function span(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const CLASSES = {
  receive: { name: 'In', title: 'received: the destination is local' },
  transmit: { name: 'Out', title: 'transmitted: the source is local' },
  internal: { name: 'Internal', title: 'source and destination are local' },
  transit: { name: 'Transit', title: 'neither end is local' },
};

const LABELS = {
  remote_as: 'Remote AS',
  remote_country: 'Countries',
  service_port: 'Services',
  application: 'Applications',
  protocol: 'Protocols',
  hostname: 'Routers',
  exporter: 'Exporters',
  site: 'Sites',
  remote_address: 'Remote addresses',
  remote_prefix: 'Remote networks',
  input_interface: 'Input interfaces (index)',
  output_interface: 'Output interfaces (index)',
  input_interface_name: 'Input interfaces',
  output_interface_name: 'Output interfaces',
  ip_version: 'IP versions',
  dscp: 'DSCP',
  vlan: 'VLANs',
};

/// What a label is called in headings and filters.
export function labelName(label) {
  const words = label.replaceAll('_', ' ').replace(/\bas\b/, 'AS');
  // Not what every object has, such as "constructor".
  return Object.hasOwn(LABELS, label) ? LABELS[label] : words.slice(0, 1).toUpperCase() + words.slice(1);
}

const SERVICES = {
  20: 'ftp-data', 21: 'ftp', 22: 'ssh', 25: 'smtp', 53: 'dns', 80: 'http', 110: 'pop3', 123: 'ntp', 143: 'imap', 161: 'snmp',
  179: 'bgp', 443: 'https', 465: 'smtps', 500: 'isakmp', 587: 'submission', 853: 'dns over tls', 993: 'imaps', 995: 'pop3s',
  1194: 'openvpn', 1883: 'mqtt', 1935: 'rtmp', 3306: 'mysql', 3389: 'rdp', 3478: 'stun', 4500: 'ipsec', 5060: 'sip',
  5432: 'postgresql', 6881: 'bittorrent', 8080: 'http', 8443: 'https', 51820: 'wireguard',
};

const regions = new Intl.DisplayNames(['en'], { type: 'region' });

/// A value of a label as people read it: its name, and what it is beside that. Both may be texts of others. AS 0 is what flows have
/// for an end whose AS the router does not know, often the own side.
export function valueName(label, value, name, isOther) {
  if (isOther && value === 'other') return { name: 'other', detail: 'has no series of its own' };
  if (/_as$/.test(label)) {
    if (value === '0') return { name: 'no AS', detail: 'AS 0' };
    return name ? { name, detail: `AS${value}` } : { name: `AS${value}`, detail: '' };
  }
  if (value === '') return { name: 'unknown', detail: '' };
  if (/_country$/.test(label) && /^[A-Z]{2}$/.test(value)) return { name: regions.of(value) ?? value, detail: value };
  if (/_port$/.test(label) && Object.hasOwn(SERVICES, value)) return { name: SERVICES[value], detail: value };
  return { name: value, detail: '' };
}
