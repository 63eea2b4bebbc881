// The AI SDK with @ai-sdk/openai-compatible. Usage: node ai_sdk.mjs BASE_URL PICTURE
import fs from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";

const [baseURL, picture] = process.argv.slice(2);
const kandinsky = createOpenAICompatible({ name: "kandinsky", baseURL, apiKey: "none" });

const { images } = await generateImage({
  model: kandinsky.imageModel("demo"),
  prompt: "a snowy mountain at night",
  size: "128x128",
  n: 2,
  seed: 5,
});
const edited = await generateImage({
  model: kandinsky.imageModel("demo"),
  prompt: { text: "the same at night", images: [fs.readFileSync(picture)] },
});
const refusal = await generateImage({
  model: kandinsky.imageModel("demo"),
  prompt: "a fox",
  providerOptions: { kandinsky: { num_inference_step: 8 } },
  maxRetries: 0,
}).catch((error) => ({ status: error.statusCode, message: error.message }));

console.log(
  JSON.stringify({ images: images.map((each) => each.base64), edited: edited.image.base64, refusal }),
);
