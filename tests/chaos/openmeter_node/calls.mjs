// What a service with OpenMeter's client for Node does: its calls in a row, and what each came to as a line of JSON.
import { OpenMeter } from "@openmeter/sdk";

const [baseUrl, apiKey] = process.argv.slice(2);
const openmeter = new OpenMeter({ baseUrl, apiKey });
const event = (id, more = {}) => ({ id, type: "call", subject: "alice", data: { quantity: "2" }, ...more });
const march = { from: new Date("2024-03-01T00:00:00Z"), to: new Date("2024-04-01T00:00:00Z") };

async function call(name, made) {
  try {
    console.log(JSON.stringify([name, (await made()) ?? null]));
  } catch (error) {
    console.log(JSON.stringify([name, { error: error.name, status: error.status }]));
  }
}

await call("one", () => openmeter.events.ingest(event("node-1")));
await call("many", () => openmeter.events.ingest([event("node-2"), event("node-3", { subject: "bob" })]));
await call("refused", () => openmeter.events.ingest([event("node-4"), event("node-5", { subject: "" })]));
await call("whole", () => openmeter.meters.query("calls", { ...march, subject: ["alice"] }));
await call("days", () =>
  openmeter.meters.query("calls", { ...march, windowSize: "DAY", windowTimeZone: "Etc/UTC", groupBy: ["subject"] }),
);
await call("filtered", () =>
  openmeter.meters.query("calls", { ...march, groupBy: ["region"], filterGroupBy: { region: "us" } }),
);
await call("nothing", () => openmeter.meters.query("nothing", march));
