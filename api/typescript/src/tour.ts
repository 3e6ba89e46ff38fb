// Five minutes with the edge: CARAVAN_URL, and tokens of an Admin (ADMIN), two users (ANN, BOB) and a Partner (CAFE).
import { Client, EdgeError } from "./client.ts";

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`set ${name}; caravan token makes tokens`);
  return value;
}

function told(step: string, what: unknown): void {
  console.log(`${step.padEnd(9)} ${JSON.stringify(what)}`);
}

const guest = new Client(setting("CARAVAN_URL"));
const [ada, ann, bob, cafe] = ["ADMIN", "ANN", "BOB", "CAFE"].map((name) => guest.by(setting(name))) as [Client, Client, Client, Client];

// A command is accepted once Kafka has it; a view asked with its token, or by the client that sent it, includes it.
const award = await ada.issue("points.award_points", { user_id: "ann", amount: 150 });
told("award", { status: award.status });
told("balance", await ann.view("points.balance", { user_id: "ann" }, { after: [award.token] }));

// A transfer, waited for; sent again under its key it is the same command.
const lunch = { user_id: "ann", transfer_id: "lunch-1", to: "bob", amount: 30, note: "for lunch" };
const sent = await ann.issue("points.transfer_points", lunch, { wait: 20, key: "lunch-1" });
const again = await ann.issue("points.transfer_points", lunch, { wait: 20, key: "lunch-1" });
told("transfer", { status: sent.status, same: again.command_id === sent.command_id });

// A business no is an outcome; bad input and what is not for the caller are errors.
const refused = await bob.issue("points.spend_points", { user_id: "bob", amount: 999 }, { wait: 20 });
told("refused", { status: refused.status, code: refused.code, details: refused.details });
for (const wrong of [
  () => bob.issue("points.spend_points", { user_id: "bob", amount: -1.5 }),
  () => bob.view("points.balance", { user_id: "ann" }),
]) {
  try {
    await wrong();
  } catch (error) {
    if (!(error instanceof EdgeError)) throw error;
    told("error", { status: error.status, code: error.code, errors: error.errors });
  }
}

// A list, part by part.
for await (const entry of bob.items("points.statement", { user_id: "bob", limit: 1 })) {
  told("entry", { kind: entry.kind, amount: entry.amount, note: entry.note });
}

// Live: Ann watches while the café's espresso is bought.
const espresso = { campaign_id: "espresso", partner_id: "cafe" };
await cafe.issue(
  "promotions.create_campaign",
  { ...espresso, name: "An espresso", price: 40, value: 250, currency: "EUR", quantity: 100, budget: 25000, valid_days: 30, per_user: 1 },
  { wait: 20 },
);
await cafe.issue("promotions.activate_campaign", espresso, { wait: 20 });
for await (const state of ann.live("points.balance", { user_id: "ann" })) {
  told("live", state && { active: state.active, held: state.held });
  if (state?.active === 120) {
    await ann.issue("promotions.purchase_voucher", { campaign_id: "espresso", voucher_id: "v1", user_id: "ann" });
  } else if (state?.active === 80) break;
}
for await (const voucher of ann.items("promotions.my_vouchers", { user_id: "ann" })) {
  told("voucher", { status: voucher.status, price: voucher.price });
  if (voucher.code !== null) {
    const till = { campaign_id: "espresso", partner_id: "cafe", code: voucher.code };
    told("redeemed", { status: (await cafe.issue("promotions.redeem_voucher", till, { wait: 20 })).status });
  }
}
