"""A back end in Python that speaks BullMQ by its own library, told by lines of JSON what to do; interop.rs says what they mean."""

import asyncio
import json
import sys

from bullmq import Job, Queue, Worker


def say(line):
    print(json.dumps(line), flush=True)


async def main():
    url, prefix, name = sys.argv[1:]
    options = {"connection": url, "prefix": prefix}
    queue, worker = Queue(name, options), None

    async def done(job, _token):
        say({"did": {"id": job.id, "kind": job.name, "data": job.data, "attempt": job.attemptsMade + 1}})
        if job.name == "fails":
            raise ValueError("python says no")
        return {"by": "python"}

    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        match order["order"]:
            case "add":
                job = await queue.add(order["kind"], order["data"], order["options"])
                say({"id": job.id})
            case "work":
                worker = Worker(name, done, options)
                say({})
            case "find":
                job = await Job.fromId(queue, order["id"])
                say({"state": await queue.getJobState(order["id"]), "result": job.returnvalue, "why": job.failedReason})
    if worker:
        await worker.close(force=True)
    await queue.close()


asyncio.run(main())
