// Numbers, durations and times as people read them. Times are the reader's own, always with their zone.

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });
const hundredth = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });
const clockForm = { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" };
const clock = new Intl.DateTimeFormat("en-GB", clockForm);
const minuteClock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", ...clockForm });
const datedWhole = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", ...clockForm });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** What stands where nothing is known. */
export const UNKNOWN = "–";

/** How far the server's clock is ahead of this one, in milliseconds. */
let ahead = 0;

/** Notes the server's time, so that ages and countdowns are right where the two clocks differ. */
export function serverTime(milliseconds) {
  const difference = milliseconds - Date.now();
  // What is less than a second or two is the way of the message, not the clock.
  ahead = Math.abs(difference) > 2000 ? difference : 0;
}

/** The server's time now, in milliseconds. */
export function now() {
  return Date.now() + ahead;
}

/** 12,345; from a hundred thousand on 123.4k, 12.3M. */
export function count(number) {
  if (number === null || number === undefined) return UNKNOWN;
  if (number < 100_000) return whole.format(number);
  return number < 999_950 ? `${tenth.format(number / 1000)}k` : `${tenth.format(number / 1_000_000)}M`;
}

/** Every digit. */
export function exact(number) {
  return number === null || number === undefined ? UNKNOWN : whole.format(number);
}

/** Events per second. */
export function rate(number) {
  if (number === null || number === undefined) return UNKNOWN;
  if (number >= 100) return whole.format(number);
  return (number >= 10 ? tenth : hundredth).format(number);
}

/** Milliseconds as 0.4 ms, 42 ms, 1.25 s, 3 min 4 s. */
export function milliseconds(number) {
  if (number === null || number === undefined) return UNKNOWN;
  if (number < 10) return `${tenth.format(number)} ms`;
  if (number < 1000) return `${whole.format(number)} ms`;
  return number < 60_000 ? `${hundredth.format(number / 1000)} s` : duration(number / 1000);
}

/** Seconds in the two largest units that matter: 8 s, 3 min 4 s, 2 h 10 min, 5 d 3 h. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (seconds > 0 && seconds < 1) return "under 1 s";
  const s = Math.max(0, Math.floor(seconds));
  const two = (large, largeUnit, small, smallUnit) => (small ? `${large} ${largeUnit} ${small} ${smallUnit}` : `${large} ${largeUnit}`);
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86_400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86_400), "d", Math.floor((s % 86_400) / 3600), "h");
}

/** How long ago, in one unit, so that it does not flicker: 12 s ago, 3 min ago, 2 h ago. */
export function ago(time) {
  const s = Math.max(0, Math.floor((now() - Date.parse(time)) / 1000));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86_400)} d ago`;
}

/** 02:13:07 CET, with the date in front where it is not today's, and the year where it is not this one. */
export function at(time) {
  if (!time) return UNKNOWN;
  const date = new Date(time);
  const today = new Date(now());
  if (date.toDateString() === today.toDateString()) return clock.format(date);
  return (date.getFullYear() === today.getFullYear() ? dated : datedWhole).format(date);
}

/** 02:13, for a sentence; with the day where it is not today. */
export function shortly(time) {
  const date = new Date(time);
  const today = date.toDateString() === new Date(now()).toDateString();
  return today ? minuteClock.format(date) : `${day.format(date)} ${minuteClock.format(date)}`;
}

/** Europe/Berlin (CET) */
export function zone() {
  const short = clock.formatToParts(new Date()).find((part) => part.type === "timeZoneName")?.value;
  const name = clock.resolvedOptions().timeZone;
  return name === short ? name : `${name} (${short})`;
}

/** 512 bytes, 1.4 KiB, 3 MiB. */
export function bytes(number) {
  if (number === null || number === undefined) return UNKNOWN;
  if (number < 1024) return `${number} bytes`;
  return number < 1_048_576 ? `${tenth.format(number / 1024)} KiB` : `${tenth.format(number / 1_048_576)} MiB`;
}

/** "1 letter", "3 letters". */
export function things(number, word) {
  return `${exact(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** JSON with line breaks and indents; every token stays as it was written. Other text stays as it is. */
export function indented(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g) ?? [];
  return tokens.map((token, at) => {
    const next = tokens[at + 1];
    if (token === "{" || token === "[") {
      if (next === "}" || next === "]") return token;
      depth += 1;
      return token + line();
    }
    if (token === "}" || token === "]") {
      const before = tokens[at - 1];
      if (before === "{" || before === "[") return token;
      depth -= 1;
      return line() + token;
    }
    if (token === ",") return token + line();
    return token === ":" ? ": " : token;
  }).join("");
}
