// Adds the verdict of @noble/curves 2.4 to every line of the sample.
import { createInterface } from "node:readline";
import { bls12_381 } from "@noble/curves/bls12-381.js";
import { hexToBytes } from "@noble/curves/utils.js";

const DST = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
const { shortSignatures } = bls12_381;
for await (const line of createInterface({ input: process.stdin })) {
  const item = JSON.parse(line);
  try {
    const message = shortSignatures.hash(hexToBytes(item.digest), DST);
    item.noble = shortSignatures.verify(hexToBytes(item.signature), message, hexToBytes(item.key));
  } catch {
    item.noble = false;
  }
  console.log(JSON.stringify(item));
}
