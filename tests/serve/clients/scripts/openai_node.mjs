// openai for Node: every way of asking for pictures. Usage: node openai_node.mjs BASE_URL PICTURE MASK
import fs from "node:fs";
import OpenAI from "openai";

const [baseURL, picture, mask] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const quick = { num_inference_steps: 8, seed: 5 };

const plain = await client.images.generate({
  model: "demo",
  prompt: "a snowy mountain at night",
  response_format: "b64_json",
  ...quick,
});
const linked = await client.images.generate({
  model: "dall-e-3",
  prompt: "a lake at sunrise",
  response_format: "url",
  ...quick,
});
const fetched = await fetch(linked.data[0].url);

const events = [];
const stream = await client.images.generate({
  model: "demo",
  prompt: "a snowy mountain at night",
  stream: true,
  partial_images: 2,
  ...quick,
});
let streamed = null;
for await (const event of stream) {
  events.push(event.type);
  streamed = event.b64_json;
}

const edited = await client.images.edit({
  model: "demo",
  image: fs.createReadStream(picture),
  mask: fs.createReadStream(mask),
  prompt: "a boat on the sea",
  response_format: "b64_json",
});

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const refusal = await client.images
  .generate({ model: "demo", prompt: "a fox", n: 99 })
  .catch((error) => ({ name: error.constructor.name, status: error.status, param: error.param }));

console.log(
  JSON.stringify({
    plain: plain.data[0].b64_json,
    tokens: plain.usage.total_tokens,
    url: linked.data[0].url,
    fetched: [fetched.status, fetched.headers.get("content-type")],
    events,
    streamed,
    edited: edited.data[0].b64_json,
    models,
    refusal,
  }),
);
