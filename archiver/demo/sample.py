# ruff: noqa: E501 - conversations, a message per line
"""The sample: a week at a ministry, said by real clients over the real APIs."""

from __future__ import annotations

import asyncio
import base64
import mimetypes
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from archiver.demo import people, synapse
from archiver.demo.people import Contact
from archiver.demo.ports import DemoError
from archiver.demo.stack import Stack
from archiver.demo.supervisor import Say
from archiver.oversight.participant import Participant

FILES = Path(__file__).parent / "sample"
STREETS = [
    (street, number)
    for street in ("Lagestraat", "Molenweg", "Wirdumerweg", "Bosweg", "Fromaweg", "Raadhuisstraat", "Stationslaan", "Delleweg")
    for number in range(2, 122, 20)
]
LONG = (
    "Even de hele lijn voor het debat, dan hebben we het allemaal bij elkaar.\n\n"
    + "\n\n".join(
        f"{number}. {text}"
        for number, text in enumerate(
            [
                "Opening: erken dat het te lang heeft geduurd. Geen mitsen en maren in de eerste alinea; de Kamer prikt daar doorheen.",
                "Cijfers: 1.240 adressen in de tweede tranche, waarvan 860 al opgenomen. De 380 die overblijven zijn voor de zomer aan de beurt. Noem het peilmoment (1 november) er steeds bij.",
                "Geld: de middelen staan op de begroting. Er is geen sprake van een greep uit een ander potje; als daarnaar wordt gevraagd, verwijs naar de brief van 14 oktober, bijlage 2.",
                "Toezicht: de inspectie heeft inzage gekregen in de volledige planning. Dat is nieuw ten opzichte van vorig jaar en mag best gezegd worden.",
                "Bewoners: wie een vaste contactpersoon wil, krijgt die. Dat geldt ook voor huurders. De uitvoeringsorganisatie meldt maandelijks hoeveel mensen langer dan twee weken wachten op antwoord.",
                "Lastige vraag 1: waarom is de planning drie keer bijgesteld? Antwoord: omdat de opname van de woningen uitwees dat er meer nodig was. Liever drie keer eerlijk dan één keer te mooi.",
                "Lastige vraag 2: wie is verantwoordelijk? Antwoord: wij. Punt.",
            ],
            start=1,
        )
    )
    + "\n\nBijlage, planning per straat (adressen, week van aanvang):\n"
    + "\n".join(
        f"{street} {number}–{number + 18}: 10 adressen, week {week}" for week, (street, number) in enumerate(STREETS, start=3)
    )
    + "\n\nTot zover. Aanvullingen graag vóór 17.00 uur."
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part."""

    officials: list[Participant]  # minister, state secretary, adviser, spokesperson
    phones: Phones


async def send(stack: Stack, say: Say) -> None:
    """Send the sample conversations, each once for a data folder: one that was cut off is not begun again."""
    marker = stack.data_dir / "sample.sent"
    begun = marker.read_text().splitlines() if marker.exists() else []
    if len(begun) == len(CONVERSATIONS):
        return
    say("Voorbeeldgesprekken worden verstuurd … · sending the sample conversations")
    url, shared = stack.contract.homeserver, stack.secrets["registration_shared_secret"]
    chatting = (people.MINISTER, people.STATE_SECRETARY, people.ADVISER, people.SPOKESPERSON)
    for person in people.MINISTRY:
        if person is not people.OPERATOR:
            await synapse.register(url, shared, person.localpart, stack.secrets[f"password_{person.localpart}"], name=person.name)
    async with AsyncExitStack() as open_clients:
        clients = [
            await open_clients.enter_async_context(
                Participant(
                    url,
                    people.user_id(person),
                    stack.secrets[f"password_{person.localpart}"],
                    stack.data_dir / "people" / person.localpart,
                    "Voorbeeld",
                )
            )
            for person in chatting
        ]
        for name, conversation in CONVERSATIONS.items():
            if name not in begun:
                begun.append(name)
                marker.write_text("\n".join(begun))
                await conversation(Cast(clients, Phones(stack.contract.simulator)))
                say(f"  {name}")


async def versterking(cast: Cast) -> None:
    """An encrypted group room, with everything that people do in one."""
    minister, state_secretary, adviser, spokesperson = cast.officials
    room = await minister.make_room("Versterking Groningen – Kamerdebat", [state_secretary, adviser, spokesperson])
    await minister.say(
        room,
        "Goedemorgen allemaal. Donderdag is het debat over de versterkingsoperatie. Joost, ligt er al een concept van de Kamerbrief?",
    )
    concept = await adviser.say(
        room, "Goedemorgen! Het concept is klaar, alleen de cijfers van de derde tranche moeten nog worden bevestigd."
    )
    await adviser.say(
        room,
        "Goedemorgen! Het concept is klaar, alleen de cijfers van de twééde tranche moeten nog worden bevestigd.",
        edit=concept,
    )
    note = await adviser.share(room, "notitie.pdf", (FILES / "notitie.pdf").read_bytes(), "application/pdf")
    await state_secretary.say(
        room, "Dank Joost. 1.240 adressen, klopt dat met wat de uitvoeringsorganisatie meldt?", reply_to=note
    )
    answer = await adviser.say(room, "Ja, peilmoment 1 november. Ik heb het vanochtend nog nagevraagd.")
    await minister.react(room, answer, "👍")
    await state_secretary.react(room, answer, "👍")
    wrong = await spokesperson.say(room, "De krant belde net weer. Zullen we zeggen dat het aan de aannemer ligt?")
    await minister.say(
        room,
        "Nee Sanne, dat doen we niet. We zeggen hoe het is: het duurde te lang en dat rekenen we onszelf aan.",
        reply_to=wrong,
    )
    await spokesperson.delete(room, wrong, "Te snel getypt")
    await spokesperson.say(room, "Helemaal eens. Ik pas de woordvoeringslijn aan. 🙏")
    await adviser.say(room, LONG)
    await state_secretary.say(
        room,
        "Voor de Syrische bewonersvereniging laten we ook een samenvatting vertalen: «تحية طيبة، ستتلقون ردًّا على جميع أسئلتكم قبل نهاية الشهر» – en één in het Hebreeuws voor de stichting: «שלום, נחזור אליכם עד סוף החודש».",
    )
    decision = await minister.say(room, "Akkoord met de brief en met de planning. Graag vandaag nog naar de Kamer. 🇳🇱✅")
    await adviser.react(room, decision, "🎉")
    await spokesperson.react(room, decision, "👏🏽")


async def tweegesprek(cast: Cast) -> None:
    """An encrypted direct chat."""
    minister, state_secretary, *_ = cast.officials
    room = await minister.make_room("", [state_secretary], direct=True)
    await minister.say(room, "Tarik, kun jij morgen het werkbezoek in Loppersum overnemen? Ik word verwacht bij de ministerraad.")
    first = await state_secretary.say(room, "Dat kan. Hoe laat word ik verwacht?")
    await minister.say(
        room, "10.30 uur bij het dorpshuis. Mevrouw Yıldız is er ook bij, zij stuurde mij een foto van haar muur.", reply_to=first
    )
    await state_secretary.say(room, "Prima. Ik neem de toezegging over de vaste contactpersoon mee.")


async def vergaderzalen(cast: Cast) -> None:
    """An unencrypted room."""
    _, state_secretary, adviser, spokesperson = cast.officials
    room = await adviser.make_room("Vergaderzalen B-vleugel", [spokesperson, state_secretary], encrypted=False)
    await adviser.say(room, "Zaal B2.14 is donderdag van 9 tot 11 bezet door de ondernemingsraad.")
    await spokesperson.say(room, "Dan schuiven wij door naar B2.16. Wie regelt de koffie? ☕")
    await state_secretary.say(room, "Ik trakteer op stroopwafels.")


async def whatsapp(cast: Cast) -> None:
    """A citizen and a journalist, on WhatsApp, and the minister's answers."""
    minister, phone = cast.officials[0], cast.phones
    citizen, journalist = people.CITIZEN, people.JOURNALIST
    await phone.send(
        citizen, "Goedemiddag mevrouw de minister, met Hatice Yıldız uit Loppersum. U gaf mij uw nummer bij het werkbezoek."
    )
    room = await minister.wait_for_invite()
    await phone.send_file(citizen, "image", "scheur.jpg", "De scheur in de gevel, vandaag gemaakt.")
    await phone.send_file(citizen, "audio", "spraakbericht.ogg", voice=True)
    await asyncio.sleep(2)
    await minister.say(
        room,
        "Dag mevrouw Yıldız, dank voor uw bericht en de foto. Dat ziet er ernstig uit. Morgen komt staatssecretaris Benali naar het dorpshuis; hij spreekt u daar graag.",
    )
    await asyncio.sleep(1.5)  # WhatsApp's own times are whole seconds: an answer within the second would come out of order
    answer = await phone.received(citizen)
    await phone.react(citizen, answer, "❤️")
    await phone.send(citizen, "Heel hartelijk dank! Dan ben ik er om half elf. 🙂", reply_to=answer)
    await phone.send(journalist, "Goedemiddag, Bram Wolters van de krant. Klopt het dat de planning opnieuw is bijgesteld?")
    other = await minister.wait_for_invite()
    await minister.say(
        other, "Dag Bram, de brief gaat vandaag naar de Kamer. Mijn woordvoerder Sanne Hoekstra belt u om 16.00 uur."
    )
    await asyncio.sleep(1.5)
    await phone.send(journalist, "Prima, ik wacht haar telefoontje af.")
    await asyncio.sleep(2)


class Phones:
    """The phones outside, at the simulator."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def send(self, contact: Contact, text: str, *, reply_to: str = "") -> str:
        """A text; returns WhatsApp's message id."""
        return await self._post(contact, {"type": "text", "text": text} | ({"context": reply_to} if reply_to else {}))

    async def react(self, contact: Contact, message_id: str, emoji: str) -> None:
        """A reaction to a message."""
        await self._post(contact, {"type": "reaction", "reaction": {"message_id": message_id, "emoji": emoji}})

    async def received(self, contact: Contact) -> str:
        """The id of the last message that the phone got. Raises DemoError when none comes."""
        async with aiohttp.ClientSession() as http:
            for _ in range(100):
                async with http.get(f"{self._url}/sim/messages") as response:
                    got = [sent["id"] for sent in await response.json() if sent["to"] == contact.wa_id]
                if got:
                    return str(got[-1])
                await asyncio.sleep(0.1)
        raise DemoError("The answer did not reach WhatsApp; look in logs/bridge.log")

    async def send_file(self, contact: Contact, kind: str, name: str, caption: str = "", *, voice: bool = False) -> str:
        """A picture, a voice message, a document."""
        content = base64.b64encode((FILES / name).read_bytes()).decode()
        media_type = "audio/ogg; codecs=opus" if voice else mimetypes.guess_type(name)[0] or "application/octet-stream"
        body: dict[str, Any] = {"type": kind, "media": content, "mime_type": media_type}
        body |= {"caption": caption} if caption else {}
        body |= {"voice": True} if voice else {}
        return await self._post(contact, body)

    async def _post(self, contact: Contact, body: dict[str, Any]) -> str:
        url = f"{self._url}/sim/contacts/{contact.wa_id}/send"
        async with aiohttp.ClientSession() as http, http.post(url, json={"name": contact.name, **body}) as response:
            if response.status != 200:
                raise DemoError(f"The WhatsApp simulator refused a sample message (HTTP {response.status})")
            return str((await response.json())["id"])


CONVERSATIONS: dict[str, Callable[[Cast], Awaitable[None]]] = {
    "Versterking Groningen": versterking,
    "Karin de Wit en Tarik Benali": tweegesprek,
    "Vergaderzalen": vergaderzalen,
    "WhatsApp": whatsapp,
}
