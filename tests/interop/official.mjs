// The official's client: matrix-js-sdk with its Rust cryptography, in strict mode, driven over stdin and stdout by lines of JSON:
// {"id": 1, "do": "send", ...} is answered by {"id": 1, "ok": ...} or {"id": 1, "error": "..."}.
import { createInterface } from "node:readline";
import { createClient, ClientEvent, EventType, MatrixEvent, MatrixScheduler } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { OnlySignedDevicesIsolationMode } from "matrix-js-sdk/lib/crypto-api/index.js";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";

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
        localTimeoutMs: 30000,
        // As always, but what the server has shown it has taken in is not sent again.
        scheduler: new MatrixScheduler((event, attempts, error) =>
            taken(event) ? -1 : MatrixScheduler.RETRY_BACKOFF_RATELIMIT(event, attempts, error)),
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
    // A client that has been told of the room but not yet of its encryption would send in the clear.
    if (encrypted) await until(() => client.getRoom(room_id)?.hasEncryptionStateEvent(), 120000, "the room's encryption");
    return { room: room_id };
}

async function known(room, timeout = 20000) {
    return until(() => client.getRoom(room)?.getMyMembership() === "join" && client.getRoom(room), timeout, `room ${room}`);
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

// Until the server has it, under one transaction id, as a client does that comes back from a tunnel. The local echo is the memory
// of what is being sent: it is sent again as it is, encrypted once, and it takes on the event's id as soon as the server answers,
// or shows the event although its answer was lost.
async function surely(room, start) {
    await known(room, 120000);
    const txn = client.makeTxnId();
    let problem = "";
    const note = (error) => (problem = String(error?.message ?? error));
    start(txn).catch(note);
    const echo = client.getRoom(room).getEventForTxnId(txn);
    for (const end = Date.now() + 120000; Date.now() < end; await sleep(20)) {
        if (taken(echo)) return { event_id: echo.getId() };
        if (echo.status !== "not_sent") continue;
        await sleep(300);
        if (echo.status === "not_sent") client.resendEvent(echo, client.getRoom(room)).catch(note);
    }
    throw new Error(`not taken in within two minutes (${echo.status}): ${problem}`);
}

const taken = (event) => event.getId().startsWith("$");

async function sendSurely({ room, body, content, type = EventType.RoomMessage, redacts, reason, file }) {
    const pointer = file && (await patiently(() => uploadEncrypted(file)));
    const said = content ?? (pointer ? fileContent(file, pointer) : { msgtype: "m.text", body });
    return surely(room, (txn) => redacts
        ? client.redactEvent(room, null, redacts, txn, { reason })
        : client.sendEvent(room, null, type, said, txn));
}

// Again while the server is away.
async function patiently(work) {
    for (const end = Date.now() + 120000; ; await sleep(500)) {
        try {
            return await work();
        } catch (error) {
            if (Date.now() > end) throw error;
        }
    }
}

// An answer that was under way while we joined can show a room as an invitation once more.
const accepted = new Set();

async function waitInvite({ timeout_ms = 20000 }) {
    const open = (room) => room.getMyMembership() === "invite" && !accepted.has(room.roomId);
    const room = await until(() => client.getRooms().find(open), timeout_ms, "an invitation");
    accepted.add(room.roomId);
    await client.joinRoom(room.roomId);
    await known(room.roomId);
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

// Every event as this client shows it, edits taken in, with what it was sent as.
// A key that came before we were in the room is its sender's once their devices are known: who opens a room asks for them.
async function acquaint(room) {
    const unread = client.getRoom(room)?.getLiveTimeline().getEvents().filter((event) => event.isDecryptionFailure()) ?? [];
    if (!unread.length) return;
    await client.getCrypto().getUserDeviceInfo([...new Set(unread.map((event) => event.getSender()))], true);
    await Promise.all(unread.map((event) => client.decryptEventIfNeeded(event, { isRetry: true })));
}

async function contents({ room }) {
    await acquaint(room);
    return {
        events: (await known(room)).getLiveTimeline().getEvents().map((event) => ({
            ...told(event), at: event.getTs(), state_key: event.getStateKey() ?? null, content: event.getContent(),
            original: event.getOriginalContent(), redacts: event.getAssociatedId() ?? null, redacted: event.isRedacted(),
        })),
    };
}

async function waitForText({ room, text, timeout_ms = 20000 }) {
    const found = await until(async () => {
        await acquaint(room);
        const events = client.getRoom(room)?.getLiveTimeline().getEvents() ?? [];
        return events.find((event) => String(event.getContent().body ?? "").includes(text));
    }, timeout_ms, `"${text}" in ${room}`);
    return { ...told(found), content: found.getContent() };
}

async function waitForReply({ room, event_id, timeout_ms = 20000 }) {
    const found = await until(async () => {
        const events = client.getRoom(room)?.getLiveTimeline().getEvents() ?? [];
        return events.find((event) => event.replyEventId === event_id && !event.isBeingDecrypted());
    }, timeout_ms, `a reply to ${event_id}`);
    return told(found);
}

async function uploadEncrypted({ base64 }) {
    const plain = Buffer.from(base64, "base64");
    const key = await crypto.subtle.generateKey({ name: "AES-CTR", length: 256 }, true, ["encrypt"]);
    const iv = new Uint8Array(16);
    crypto.getRandomValues(iv.subarray(0, 8));
    const data = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-CTR", counter: iv, length: 64 }, key, plain));
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
    const unpadded = (bytes) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");
    const { content_uri } = await client.uploadContent(new Blob([data]), { type: "application/octet-stream" });
    const jwk = await crypto.subtle.exportKey("jwk", key);
    return {
        v: "v2", url: content_uri, iv: unpadded(iv), hashes: { sha256: unpadded(hash) },
        key: { alg: "A256CTR", ext: true, k: jwk.k, key_ops: ["encrypt", "decrypt"], kty: "oct" },
    };
}

function fileContent({ name, mime, base64, msgtype = "m.file", voice = false }, file) {
    const content = { msgtype, body: name, info: { mimetype: mime, size: Buffer.from(base64, "base64").length }, file };
    return voice ? { ...content, "org.matrix.msc3245.voice": {} } : content;
}

async function sendFile({ room, ...file }) {
    await known(room);
    return send({ room, content: fileContent(file, await uploadEncrypted(file)) });
}

// As a person does who has lost every device: signs in anew with no keys, restores the backup with the recovery key, reads events.
async function restoreBackup({ homeserver, user, password, recovery_key: recovery, events }) {
    const answer = await createClient({ baseUrl: homeserver }).loginRequest({
        type: "m.login.password", identifier: { type: "m.id.user", user }, password,
    });
    const restorer = createClient({
        baseUrl: homeserver, accessToken: answer.access_token, userId: answer.user_id, deviceId: answer.device_id,
    });
    await restorer.initRustCrypto({ useIndexedDB: false });
    const crypto = restorer.getCrypto();
    const info = await crypto.getKeyBackupInfo();
    const key = decodeRecoveryKey(recovery);
    await crypto.storeSessionBackupPrivateKey(key, info.version);
    const trust = await crypto.isKeyBackupTrusted(info);
    const restored = await crypto.restoreKeyBackup();
    const bodies = [];
    for (const raw of events) {
        const event = new MatrixEvent(raw);
        await restorer.decryptEventIfNeeded(event);
        bodies.push(event.isDecryptionFailure() ? null : event.getContent().body);
    }
    await restorer.logout(true);
    return { ...restored, bodies, matches: trust.matchesDecryptionKey, version: info.version };
}

const actions = {
    restore_backup: restoreBackup,
    login, create_room: createRoom, send, send_many: sendMany, wait_invite: waitInvite, timeline, contents,
    wait_for_text: waitForText, wait_for_reply: waitForReply,
    send_file: sendFile, send_surely: sendSurely,
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
    wait_member: async ({ room, user }) => {
        await until(() => client.getRoom(room)?.getMember(user), 120000, `${user} in ${room}`);
        return {};
    },
    new_session: async ({ room }) => { await client.getCrypto().forceDiscardSession(room); return {}; },
    react: async ({ room, event_id, key }) => client.sendEvent(room, "m.reaction", {
        "m.relates_to": { rel_type: "m.annotation", event_id, key },
    }),
    read: async ({ room, event_id }) => {
        const event = (await known(room)).findEventById(event_id);
        await client.sendReadReceipt(event);
        return {};
    },
    // Who has read a message, once somebody has.
    read_by: async ({ room, event_id }) => {
        const found = async () => (await known(room)).getUsersReadUpTo((await known(room)).findEventById(event_id));
        const others = async () => (await found()).filter((user) => user !== client.getUserId());
        await until(async () => (await others()).length, 30000, `somebody who has read ${event_id}`);
        return { users: await others() };
    },
    // The contents of the events that refer to a message, once there are `count`.
    referring: async ({ room, event_id, type, count = 1 }) => {
        const found = () => client.getRoom(room).getLiveTimeline().getEvents().filter((event) => event.getType() === type &&
            (event.getContent()["m.relates_to"] ?? event.getWireContent()["m.relates_to"])?.event_id === event_id);
        await until(() => found().length >= count, 30000, `${count} of ${type} about ${event_id}`);
        return { contents: found().map((event) => event.getContent()) };
    },
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
