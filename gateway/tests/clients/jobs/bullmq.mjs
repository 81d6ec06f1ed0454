// A back end in Node that speaks BullMQ by its own library, told by lines of JSON what to do; interop.rs says what they mean.
import { createInterface } from "node:readline";
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { Queue, Worker } from "bullmq";
import express from "express";

const [url, prefix, name] = process.argv.slice(2);
const connection = { url, maxRetriesPerRequest: null };
const queue = new Queue(name, { connection, prefix });
const say = (line) => console.log(JSON.stringify(line));
let worker;

const orders = {
  async add({ kind, data, options }) {
    const job = await queue.add(kind, data, options);
    return { id: job.id };
  },
  async work() {
    const done = async (job) => {
      say({ did: { id: job.id, kind: job.name, data: job.data, attempt: job.attemptsMade + 1 } });
      if (job.name === "fails") throw new Error("node says no");
      return { by: "node" };
    };
    worker = new Worker(name, done, { connection, prefix, concurrency: 4 });
    await worker.waitUntilReady();
    return {};
  },
  async find({ id }) {
    const job = await queue.getJob(id);
    return { state: await job?.getState(), result: job?.returnvalue, why: job?.failedReason, trace: job?.opts.telemetry?.metadata };
  },
  async board() {
    const serverAdapter = new ExpressAdapter();
    createBullBoard({ queues: [new BullMQAdapter(queue)], serverAdapter });
    const server = express().use(serverAdapter.getRouter()).listen(0, "127.0.0.1");
    await new Promise((ready) => server.once("listening", ready));
    return { port: server.address().port };
  },
};

say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const { order, ...about } = JSON.parse(line);
  say(await orders[order](about));
}
await worker?.close();
process.exit(0);
