// Fills in the zone of the browser, and moves figures as the server sends them. Pages work without it.
"use strict";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
const field = document.querySelector("[data-zone]");
if (field) field.value = zone;

// An embedded page has no session that could keep the zone.
const here = new URL(location.href);
if (document.body.hasAttribute("data-embedded") && !here.searchParams.has("zone") && zone) {
  here.searchParams.set("zone", zone);
  location.replace(here);
}

// Amounts are exact decimals in text: digits are grouped without reading them as a number.
function grouped(text) {
  const [whole, part = ""] = text.split(".");
  const decimals = part.slice(0, 3).replace(/0+$/, "");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (decimals ? "." + decimals : "");
}

function moved(limit) {
  const card = document.querySelector(`[data-meter="${CSS.escape(limit.meter)}"]`);
  // The figure of another period than the card is of: the last one, where nothing was used since.
  if (!card || limit.used === null || limit.period_start !== card.dataset.start) return;
  const used = card.querySelector("[data-used]");
  if (used.title === limit.used) return;
  used.title = limit.used;
  used.textContent = grouped(limit.used);
  const bar = card.querySelector("progress");
  if (!bar || !limit.limit || !Number(limit.limit)) return;
  const share = 100 * Number(limit.used) / Number(limit.limit);
  bar.value = Math.min(share, 100);
  card.querySelector("[data-share]").textContent = share.toFixed(1).replace(/\.0$/, "");
  card.classList.toggle("over", share >= 100);
}

function alerted(alert) {
  const list = document.getElementById("alerts");
  if (!list) return;
  const line = document.createElement("li");
  const data = alert.data || {};
  line.className = data.severity || "info";
  line.textContent = data.summary || alert.type;
  list.querySelector(".none")?.remove();
  list.prepend(line);
}

const stream = document.body.dataset.stream;
if (stream) {
  const state = document.getElementById("live");
  const events = new EventSource(stream);
  events.addEventListener("open", () => { state.textContent = "Live: figures move as usage arrives."; });
  events.addEventListener("error", () => { state.textContent = "Not live now: the figures are those of when this was loaded."; });
  events.addEventListener("limit", (event) => moved(JSON.parse(event.data)));
  events.addEventListener("alert", (event) => alerted(JSON.parse(event.data)));
}
