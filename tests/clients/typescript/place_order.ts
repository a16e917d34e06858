// Places an order with a client whose types were generated from the order API's document.
import createClient from "openapi-fetch";
import type { components, paths } from "./order.js";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] });
const request: components["schemas"]["OrderRequest"] = {
  customerId: "customer-123",
  paymentMode: "AUTOMATIC",
  paymentMethod: "pm_ok",
  lines: [{ sku: "KEYBOARD-01", quantity: 2 }],
};

const placed = await client.POST("/orders", {
  params: { header: { "Idempotency-Key": crypto.randomUUID() } },
  body: request,
});
if (placed.error) throw new Error(`${placed.error.status} ${placed.error.title}`);

const { data, error } = await client.GET("/orders/{orderId}", {
  params: { path: { orderId: placed.data.orderId } },
});
if (error) throw new Error(error.title);

const status: components["schemas"]["OrderStatus"] = data.status;
console.log(JSON.stringify({ orderId: data.orderId, status, amountMinor: data.amountMinor }));
