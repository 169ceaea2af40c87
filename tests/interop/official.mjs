// The official's client: matrix-js-sdk with its Rust cryptography, in strict mode, driven over stdin and stdout by lines of JSON:
// {"id": 1, "do": "send", ...} is answered by {"id": 1, "ok": ...} or {"id": 1, "error": "..."}.
import { createInterface } from "node:readline";
import { createClient, ClientEvent, EventType } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { OnlySignedDevicesIsolationMode } from "matrix-js-sdk/lib/crypto-api/index.js";

logger.setLevel("silent");
for (const name of ["log", "info", "warn", "debug", "error", "trace"]) console[name] = () => {};

let client;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(check, timeout, what) {
    const end = Date.now() + timeout;
    while (Date.now() < end) {
        const found = await check();
        if (found) return found;
        await sleep(50);
    }
    throw new Error(`timed out: ${what}`);
}

async function login({ homeserver, user, password }) {
    const temporary = createClient({ baseUrl: homeserver });
    const answer = await temporary.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user },
        password,
        initial_device_display_name: "interop",
    });
    client = createClient({
        baseUrl: homeserver,
        accessToken: answer.access_token,
        userId: answer.user_id,
        deviceId: answer.device_id,
    });
    await client.initRustCrypto({ useIndexedDB: false });
    const crypto = client.getCrypto();
    crypto.setDeviceIsolationMode(new OnlySignedDevicesIsolationMode());
    await client.startClient({ initialSyncLimit: 100 });
    await new Promise((resolve) => client.on(ClientEvent.Sync, (state) => state === "PREPARED" && resolve()));
    const ready = async () => {
        const status = await crypto.getDeviceVerificationStatus(answer.user_id, answer.device_id);
        return status?.signedByOwner && (await crypto.isCrossSigningReady());
    };
    // An answer about the keys of an earlier sign-in that was under way when ours were made undoes them: then they are made again.
    for (let attempt = 0; !(await ready()); attempt++) {
        if (attempt === 5) throw new Error("our device does not show as signed by our own identity");
        await crypto.bootstrapCrossSigning({
            setupNewCrossSigning: attempt > 0,
            authUploadDeviceSigningKeys: async (upload) => {
                await upload({ type: "m.login.password", identifier: { type: "m.id.user", user: answer.user_id }, password });
            },
        });
        await until(ready, 4000, "signed").catch(() => {});
    }
    return { user_id: answer.user_id, device_id: answer.device_id };
}

async function createRoom({ name, encrypted = true, invite = [], direct = false, power_levels }) {
    const state = encrypted
        ? [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }]
        : [];
    const { room_id } = await client.createRoom({
        name, invite, is_direct: direct, preset: direct ? "trusted_private_chat" : "private_chat", initial_state: state,
        power_level_content_override: power_levels,
    });
    return { room: room_id };
}

async function known(room) {
    return until(() => client.getRoom(room)?.getMyMembership() === "join" && client.getRoom(room), 20000, `room ${room}`);
}

async function send({ room, content, body, type = EventType.RoomMessage }) {
    await known(room);
    const { event_id } = await client.sendEvent(room, type, content ?? { msgtype: "m.text", body });
    return { event_id };
}

async function sendMany({ room, bodies, gap_ms = 0 }) {
    await known(room);
    const ids = [];
    for (const body of bodies) {
        const { event_id } = await client.sendEvent(room, EventType.RoomMessage, { msgtype: "m.text", body });
        ids.push(event_id);
        if (gap_ms) await sleep(gap_ms);
    }
    return { event_ids: ids };
}

// When each was begun and when the server had it, in milliseconds of this machine's clock.
async function sendTimed({ room, bodies }) {
    await known(room);
    const sent = [];
    for (const body of bodies) {
        const began = Date.now();
        const { event_id } = await client.sendEvent(room, EventType.RoomMessage, { msgtype: "m.text", body });
        sent.push({ event_id, began, answered: Date.now() });
    }
    return { sent };
}

// Until the server has it, each under one transaction id, as a client does that comes back from a tunnel.
async function sendSurely({ room, bodies, gap_ms = 0 }) {
    await known(room);
    const ids = [];
    for (const body of bodies) {
        const txn = client.makeTxnId();
        const end = Date.now() + 120000;
        for (;;) {
            try {
                const { event_id } = await client.sendEvent(room, null, EventType.RoomMessage, { msgtype: "m.text", body }, txn);
                ids.push(event_id);
                break;
            } catch (error) {
                if (Date.now() > end) throw error;
                await sleep(300);
                const events = client.getRoom(room).getLiveTimeline().getEvents();
                const failed = events.find((event) => event.getTxnId() === txn && event.status === "not_sent");
                if (failed) client.cancelPendingEvent(failed);
            }
        }
        if (gap_ms) await sleep(gap_ms);
    }
    return { event_ids: ids };
}

async function waitInvite({ timeout_ms = 20000 }) {
    const room = await until(
        () => client.getRooms().find((candidate) => candidate.getMyMembership() === "invite"), timeout_ms, "an invitation",
    );
    await client.joinRoom(room.roomId);
    return { room: room.roomId };
}

function told(event) {
    return {
        event_id: event.getId(),
        sender: event.getSender(),
        type: event.getType(),
        body: event.getContent().body,
        failure: event.isDecryptionFailure() ? String(event.decryptionFailureReason) : null,
    };
}

async function timeline({ room }) {
    return { events: (await known(room)).getLiveTimeline().getEvents().map(told) };
}

async function waitForText({ room, text, timeout_ms = 20000 }) {
    const found = await until(async () => {
        const events = client.getRoom(room)?.getLiveTimeline().getEvents() ?? [];
        return events.find((event) => String(event.getContent().body ?? "").includes(text));
    }, timeout_ms, `"${text}" in ${room}`);
    return told(found);
}

async function sendFile({ room, name, mime, base64, msgtype = "m.file" }) {
    await known(room);
    const plain = Buffer.from(base64, "base64");
    const key = await crypto.subtle.generateKey({ name: "AES-CTR", length: 256 }, true, ["encrypt"]);
    const iv = new Uint8Array(16);
    crypto.getRandomValues(iv.subarray(0, 8));
    const data = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-CTR", counter: iv, length: 64 }, key, plain));
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
    const unpadded = (bytes) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");
    const { content_uri } = await client.uploadContent(new Blob([data]), { type: "application/octet-stream" });
    const jwk = await crypto.subtle.exportKey("jwk", key);
    const file = {
        v: "v2", url: content_uri, iv: unpadded(iv), hashes: { sha256: unpadded(hash) },
        key: { alg: "A256CTR", ext: true, k: jwk.k, key_ops: ["encrypt", "decrypt"], kty: "oct" },
    };
    return send({ room, content: { msgtype, body: name, info: { mimetype: mime, size: plain.length }, file } });
}

const actions = {
    login, create_room: createRoom, send, send_many: sendMany, wait_invite: waitInvite, timeline, wait_for_text: waitForText,
    send_file: sendFile, send_surely: sendSurely, send_timed: sendTimed,
    join: async ({ room }) => ({ room: (await client.joinRoom(room)).roomId }),
    kick: async ({ room, user }) => client.kick(room, user),
    ban: async ({ room, user }) => client.ban(room, user),
    get_state: async ({ room, type, key = "" }) => client.getStateEvent(room, type, key),
    room_name: async ({ room }) => ({ name: (await known(room)).name }),
    invite: async ({ room, user }) => { await known(room); await client.invite(room, user); return {}; },
    state: async ({ room, type, content, key = "" }) => client.sendStateEvent(room, type, content, key),
    wait_members: async ({ room, count }) => {
        const members = () => client.getRoom(room)?.getJoinedMembers().length === count;
        await until(members, 20000, `${count} members in ${room}`);
        return {};
    },
    rename: async ({ name }) => client.setDisplayName(name),
    upgrade: async ({ room, version }) => ({ room: (await client.upgradeRoom(room, version)).replacement_room }),
    new_session: async ({ room }) => { await client.getCrypto().forceDiscardSession(room); return {}; },
    redact: async ({ room, event_id, reason }) => client.redactEvent(room, event_id, undefined, { reason }),
    quit: async () => {
        client?.stopClient();
        setTimeout(() => process.exit(0), 50);
        return {};
    },
};

// One at a time, in the order in which they were asked for.
let last = Promise.resolve();
createInterface({ input: process.stdin }).on("line", (line) => {
    last = last.then(async () => {
        const { id, do: action, ...rest } = JSON.parse(line);
        let answer;
        try {
            answer = { id, ok: await actions[action](rest) };
        } catch (error) {
            answer = { id, error: `${action}: ${error?.message ?? error}` };
        }
        process.stdout.write(JSON.stringify(answer) + "\n");
    });
}).on("close", () => process.exit(0));
