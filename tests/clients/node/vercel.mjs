// The AI SDK of Vercel with the two providers that speak the Responses API: https://ai-sdk.dev
import { createOpenResponses } from "@ai-sdk/open-responses";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";
import { exceptionOf, run } from "./case.mjs";

function modelOf({ provider, url, model }) {
  if (provider === "openai") return createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" }).responses(model);
  return createOpenResponses({ name: "llamarelay", url: `${url}/v1/responses` })(model);
}

globalThis.AI_SDK_LOG_WARNINGS = false; // they would go to stdout, among the results

const asking = (options, more = {}) => ({ model: modelOf(options), prompt: options.input, maxRetries: 0, ...more });

function summary(result) {
  const { text, reasoningText, finishReason, usage, response, warnings } = result;
  return { text, reasoningText, finishReason, usage, model: response.modelId, id: response.id, warnings };
}

await run({
  async plain(options) {
    return summary(await generateText(asking(options)));
  },

  async stream(options) {
    const errors = [];
    const result = streamText(asking(options, { onError: ({ error }) => errors.push(String(error)) }));
    const kinds = [];
    let text = "";
    for await (const part of result.fullStream) {
      kinds.push(part.type);
      if (part.type === "text-delta") text += part.text;
    }
    return { kinds, text, errors, final: await result.text, finishReason: await result.finishReason };
  },

  async chat(options) {
    const messages = [];
    const answers = [];
    for (const content of options.inputs) {
      messages.push({ role: "user", content });
      const { text } = await generateText({
        model: modelOf(options),
        system: options.system,
        messages,
        temperature: 0,
        maxRetries: 0,
      });
      messages.push({ role: "assistant", content: text });
      answers.push(text);
    }
    return answers;
  },

  // what the SDK gives back as history: for `@ai-sdk/openai` references to stored items
  async history(options) {
    const messages = [];
    const answers = [];
    for (const content of options.inputs) {
      messages.push({ role: "user", content });
      const { text, response } = await generateText({ model: modelOf(options), messages, maxRetries: 0 });
      messages.push(...response.messages);
      answers.push(text);
    }
    return answers;
  },

  async chain(options) {
    let previousResponseId;
    const answers = [];
    for (const prompt of options.inputs) {
      const { text, providerMetadata } = await generateText({
        ...asking({ ...options, input: prompt }),
        temperature: 0,
        providerOptions: { openai: { previousResponseId, reasoningEffort: "none", forceReasoning: false } },
      });
      previousResponseId = providerMetadata.openai.responseId;
      answers.push({ text, id: previousResponseId });
    }
    return answers;
  },

  async errors(options) {
    return {
      model: await exceptionOf(() => generateText(asking({ ...options, model: "no/model" }))),
      field: await exceptionOf(() => generateText(asking(options, { temperature: 5 }))),
    };
  },

  async abort(options) {
    const abort = new AbortController();
    const kinds = [];
    const { fullStream } = streamText(asking(options, { abortSignal: abort.signal, onError: () => {} }));
    for await (const part of fullStream) {
      kinds.push(part.type);
      if (part.type === "text-delta") abort.abort();
    }
    return kinds;
  },
});
