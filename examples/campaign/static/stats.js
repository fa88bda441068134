// Fills the page with live figures. Text is set as text, never as markup.
"use strict";

const REFRESH_MS = 15000;
const number = new Intl.NumberFormat();
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

async function read(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

function fill(attribute, values) {
  for (const cell of document.querySelectorAll(`[data-${attribute}]`)) {
    const value = values[cell.dataset[attribute]];
    if (typeof value === "number") cell.textContent = number.format(value);
  }
}

function entry(event) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  const title = document.createElement("strong");
  const place = document.createElement("span");
  time.dateTime = event.starts_at;
  time.textContent = day.format(new Date(event.starts_at));
  title.textContent = event.title;
  place.textContent = `${event.place}, ${event.city}`;
  item.append(time, title, place);
  return item;
}

async function refresh() {
  const state = document.getElementById("state");
  try {
    const list = document.querySelector("[data-events]");
    const [stats, count, events] = await Promise.all([
      read("/api/stats"), read("/api/persons/count"), read(`/api/events?limit=${list.dataset.events}`),
    ]);
    fill("stat", stats);
    fill("count", count.by_status);
    list.replaceChildren(...events.events.map(entry));
    state.textContent = `Updated ${new Date().toLocaleTimeString()}.`;
    state.classList.remove("trouble");
  } catch (error) {
    state.textContent = `The figures are not available right now (${error.message}).`;
    state.classList.add("trouble");
  }
}

refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
