// The official SDK for JavaScript: https://github.com/openai/openai-node
import OpenAI from "openai";
import { exceptionOf, run } from "./case.mjs";

const connect = ({ url }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

await run({
  async plain(options) {
    const response = await connect(options).responses.create({ model: options.model, input: options.input });
    return { text: response.output_text, requestId: response._request_id, response };
  },

  async stream(options) {
    const client = connect(options);
    return collect(await client.responses.create({ model: options.model, input: options.input, stream: true }));
  },

  // the accumulating helper, which is strict about the order of events
  async helper(options) {
    const stream = connect(options).responses.stream({ model: options.model, input: options.input });
    const deltas = [];
    stream.on("response.output_text.delta", (event) => deltas.push(event.delta));
    const final = await stream.finalResponse();
    return { deltas: deltas.join(""), text: final.output_text, status: final.status };
  },

  async chain(options) {
    const client = connect(options);
    let previous = null;
    const answers = [];
    for (const input of options.inputs) {
      const response = await client.responses.create({
        model: options.model,
        input,
        previous_response_id: previous,
        reasoning: { effort: "none" },
        temperature: 0,
      });
      previous = response.id;
      answers.push({ id: response.id, previous: response.previous_response_id, text: response.output_text });
    }
    return answers;
  },

  async retrieve(options) {
    const client = connect(options);
    const created = await client.responses.create({ model: options.model, input: options.input });
    const retrieved = await client.responses.retrieve(created.id);
    const items = [];
    for await (const item of client.responses.inputItems.list(created.id)) items.push(item);
    const events = await collect(await client.responses.retrieve(created.id, { stream: true }));
    const resumed = await collect(await client.responses.retrieve(created.id, { stream: true, starting_after: 3 }));
    await client.responses.delete(created.id);
    const gone = await exceptionOf(() => client.responses.retrieve(created.id));
    return { created, retrieved, items, events, resumed, gone };
  },

  async cancel(options) {
    const client = connect(options);
    const created = await client.responses.create({ model: options.model, input: options.input, background: true });
    const cancelled = await client.responses.cancel(created.id);
    const stored = await client.responses.retrieve(created.id);
    return { created: created.status, cancelled: cancelled.status, stored: stored.status };
  },

  async tokens(options) {
    const client = connect(options);
    return client.responses.inputTokens.count({ model: options.model, input: options.input });
  },

  async models(options) {
    const client = connect(options);
    const listed = [];
    for await (const model of client.models.list()) listed.push(model.id);
    return { listed, retrieved: await client.models.retrieve(options.model) };
  },

  async errors(options) {
    const { responses } = connect(options);
    const { model } = options;
    return {
      model: await exceptionOf(() => responses.create({ model: "no/model", input: "Hi" })),
      field: await exceptionOf(() => responses.create({ model, input: "Hi", temperature: 5 })),
      stream: await exceptionOf(() => responses.create({ model, input: "Hi", top_p: 2, stream: true })),
      parent: await exceptionOf(() => responses.create({ model, input: "Hi", previous_response_id: "resp_none" })),
      missing: await exceptionOf(() => responses.retrieve("resp_none")),
    };
  },

  async failure(options) {
    const client = connect(options);
    const thrown = await exceptionOf(() => client.responses.create({ model: options.model, input: "Hi" }));
    const events = await collect(await client.responses.create({ model: options.model, input: "Hi", stream: true }));
    return { thrown, last: events.at(-1) };
  },

  async abort(options) {
    const abort = new AbortController();
    const stream = await connect(options).responses.create(
      { model: options.model, input: options.input, stream: true },
      { signal: abort.signal },
    );
    const kinds = [];
    for await (const event of stream) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") abort.abort();
    }
    return kinds;
  },

  // leaving the loop ends the stream as well
  async leave(options) {
    const client = connect(options);
    for await (const event of await client.responses.create({
      model: options.model,
      input: options.input,
      stream: true,
    })) {
      if (event.type === "response.output_text.delta") break;
    }
  },
});
