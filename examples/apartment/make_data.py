"""Makes objects.npz: things of a home with their sentence embeddings, from the larger objects set.

    python make_data.py FOLDER [--out objects.npz] [--count 2000]

FOLDER holds objects.jsonl.gz (name, synonyms, kind, gloss: WordNet 3.0 nouns),
objects_vectors.f16.npy (one row each, unit length), objects_queries.json and
objects_queries.f32.npy.

What belongs into a home, and into which of its rooms, is learnt from the few examples written
below: a ridge regression from the embeddings to the places, which is one linear equation. The same
input gives the same file. Nothing in it is pickled.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

# Examples by place. "elsewhere" is what no home holds; it is learnt like a room and left out.
PLACES: dict[str, str] = {
    "kitchen": """
        bottle opener, bread knife, butcher board, cap opener, coffee cup, coffeepot, casserole,
        cutlery, cooking utensil, dishpan, dishtowel, earthenware, fork, tablefork, soupspoon,
        gas oven, gas ring, kettle, cooler, deep-freeze, pepper shaker, place setting, plate,
        potholder, range hood, ricer, saucer, serving dish, stewing pan, stockpot, strainer,
        toaster oven, waffle iron, water filter, water glass, whisk, microwave, cling film,
        dinner service, drinking vessel, funnel, chopping block, kitchen table, tumbler, drip
        mat, swizzle stick, cocktail shaker, ovenware, mixing faucet, tray cloth, trivet,
        thermos, water cooler, toothpick, steel-wool pad, bin liner, glass, runcible spoon,
        china
    """,
    "pantry": """
        cereal box, cookie jar, soda can, tin can, brownie, cinnamon roll, chewing gum, cat
        food, cooking oil, chocolate, cider vinegar, dried apricot, hard candy, jelly, lentil,
        marmite, peanut bar, pancake, self-rising flour, spaghetti squash, stock cube, stick
        cinnamon, tea bag, tomato sauce, vanilla, vinegar, wine, soda water, orange juice,
        butter, egg, bread, coconut, hot sauce, mustard sauce, bay leaf, broccoli rabe,
        cauliflower, celery, grape, carrot juice, ravioli, rigatoni, icing sugar, Granny Smith,
        Valencia orange, Stilton, Worcester sauce, Coca Cola, chickpea, granola bar, wafer
    """,
    "bathroom": """
        after-shave, baby powder, bar soap, bath oil, bathing cap, bathroom fixture, bidet,
        electric toothbrush, dentifrice, depilatory, face powder, flush toilet, hand towel,
        mascara, roller towel, safety razor, shower, shower curtain, soap dish, toilet bag,
        toilet seat, toilet water, talcum, eye-lotion, antiseptic, acetaminophen, sleeping pill,
        pill, inhaler, dropper, Elastoplast, Epsom salts, antipruritic
    """,
    "bedroom": """
        bed, bed jacket, bedding material, bedpost, bedroom furniture, bolster, chest of
        drawers, clothes closet, cheval glass, dresser, four-poster, mattress cover, negligee,
        night-light, nightgown, pajama, sheet, heating pad, platform bed, highboy, blouse,
        bandanna, camisole, cufflink, necklace, nylons, shirt button, sweatshirt, work-shirt,
        dinner jacket, full skirt, jump suit, Bermuda shorts, pendant earring, ascot, trouser
        press, long trousers, string tie, Windsor tie
    """,
    "living room": """
        accordion, ashtray, candle, cassette player, cassette tape, chaise longue, chesterfield,
        couch, cushion, davenport, daybed, fauteuil, fire screen, fire tongs, grandfather clock,
        gueridon, lounger, mandolin, phonograph album, picture, radio, recliner, rocker, Boston
        rocker, rug, satellite receiver, seat cushion, sectional, stereo, table lamp, tape
        player, television monitor, wing chair, looking glass, electric clock, console table,
        dimmer, domino, checkerboard, dartboard, Chinese puzzle, clarinet, flute, uke, zither,
        mantel, Menorah, crystal ball, still life, fluorescent, roller blind, light bulb
    """,
    "study": """
        briefcase, bulletin board, circuit board, copyholder, disk drive, drafting board, easel,
        folder, fountain pen, hand calculator, in-basket, ink eraser, keyboard, letter opener,
        marker, mouse, paperweight, pencil sharpener, personal digital assistant, pocketbook,
        portfolio, scanner, scratchpad, serial port, Sharpie, touch screen, typewriter keyboard,
        wastepaper basket, writing desk, writing arm, paintbrush, finger paint, celestial globe,
        magazine, impact printer, camera, reflex camera, lens cap, handset, telephone cord,
        glasses case, shredder, paper chain, flat file, foot rule
    """,
    "hallway": """
        boot, cowboy boot, bootlace, cane, cloak, doormat, doorplate, dust cover, footwear,
        front door, fur hat, interior door, knocker, mail slot, mailbox, oxford, parasol,
        picture hat, rubber boot, sandal, shoelace, slip-on, sunhat, walking shoe, watch cap,
        latch, combination lock, umbrella tent, fire alarm, mackinaw, golf bag, ski pole, ski
        boot, step stool, basketball equipment, tennis racket, tennis ball, bicycle wheel, ice
        skate, hockey stick, baseball glove, shin guard, jump rope, volleyball, ping-pong ball,
        helmet
    """,
    "laundry": """
        clothesline, detergent, disinfectant, duster, bristle brush, broomstick, hamper, iron,
        steam iron, mop handle, mothball, push broom, soap flakes, travel iron, white goods,
        dust bag, linen, sewing kit, pincushion, needle, scrubber, safety bolt, crochet
    """,
    "workshop": """
        Allen screw, Phillips screwdriver, backsaw, ball-peen hammer, bit, brace and bit,
        carpenter's kit, carpenter's square, chain wrench, claw hatchet, cold chisel, coping
        saw, compass saw, drilling bit, expansion bolt, hammer, hex nut, latex paint, locking
        pliers, masking tape, miter box, nail, nut, pliers, plumb level, saw, screw key,
        soldering iron, tintack, toolbox, twist bit, vise, wire stripper, woodscrew, wrench,
        plug fuse, coaxial cable, power pack, three-way switch, digital voltmeter, jack
    """,
    "nursery": """
        climbing frame, coloring book, choo-choo, doll, puppet, rag doll, toy box, train set,
        pogo stick, baby buggy, cockhorse, creche, cradle, Wiffle, pinata, party favor, model
    """,
    "balcony": """
        deck chair, hibachi, lawn chair, herb garden, rain gauge, dibble, mulch, alcohol
        thermometer, hygrometer, bicycle clip, aviary, paddle, flower garden, lantern, spirit
        stove
    """,
    "elsewhere": """
        American Stock Exchange, Brooklyn Bridge, Caledonian Canal, Dachau, Doppler radar,
        Dumpster, Ferris wheel, Harvard University, Hoover Dam, I-beam, Indiaman, Joint Direct
        Attack Munition, K, Linotype, Nissen hut, Petronas Towers, Pullman, Roman arch,
        Statehouse, T-bar lift, Temple of Apollo, Turing machine, USS Cole, WATS, abattoir,
        abstraction, abutment, acropolis, action, addressing machine, adjoining room,
        adumbration, air-to-ground missile, airfield, airlock, airplane propeller, aisle, altar,
        ambulance, antiballistic missile, anechoic chamber, anode, anti-G suit, apartment,
        architecture, armory, arsenal, assembly hall, atomic pile, automatic firearm, automobile
        engine, auxiliary boiler, balcony, ballroom, bandwagon, barn, battleship, bayonet, beam,
        beer hall, bell tower, bilge pump, boarding house, bomber, bookmobile, borstal, bottling
        plant, brake cylinder, brigantine, broadcasting station, broadsword, bus, butterfly
        valve, cabana, calender, camp, camshaft, canal, cannon, capstan, car, cargo liner,
        castle, cavalry sword, cell, cellblock, cenotaph, cephalosporin, cider mill, cityscape,
        club, command module, commissary, compartment, conference room, container ship,
        corvette, country house, covered bridge, crenel, cruiser, crematory, cupola, cyclotron,
        delicatessen, derrick, destroyer, dining room, dirt track, dive bomber, dolmen, dry
        dock, duct, duplex apartment, engine, entablature, facade, fast reactor, field house,
        flintlock, football field, foresail, freight train, frigate, frieze, gable, gallery,
        gambling house, garrote, gas maser, gasworks, golfcart, government building, gristmill,
        guided missile cruiser, gun deck, hall, hauberk, highway system, hip roof, hospital bed,
        hull, hydraulic pump, internet, ironclad, jet bridge, jetliner, kremlin, landing craft,
        laser-guided bomb, levee, lyceum, mainsail, manhole cover, marketplace, mastaba, medical
        building, metro, military hospital, minelayer, monoplane, moving van, national monument,
        naval equipment, nave, network, nuclear rocket, oil well, one-way street, orange grove,
        pagoda, pantheon, pier, pipeline, pistol, piston rod, plastic explosive, planetarium,
        pontoon bridge, powder keg, public works, pylon, railway station, rapier, reactor,
        revolver, rocket, roof, row house, runway, sail, sarcophagus, school bus, sewage farm,
        shotgun, shrine, side street, smart bomb, spillway, stockyard, streetlight, stud farm,
        stupa, submarine, subway train, suspension bridge, switch engine, synagogue, system,
        tank engine, telephone pole, temple, tetracycline, thalidomide, tie, torpedo, town hall,
        trailer truck, tramway, trireme, troop carrier, truck stop, turbogenerator, underpass,
        upcast, vault, vineyard, warehouse, weapon of mass destruction, weir, wellhead, whipping
        post, wigwam, wind farm, yawl, ziggurat, carbohydrate loading, clear liquid diet, creep
        feed, cud, cut, eatage, health food, soul food, haute cuisine, nouvelle cuisine, ration,
        low-fat diet, macrobiotic diet, nutriment, paddy, comestible, slop, mangel-wurzel,
        alfalfa, section, course, swallow, libation, betatron, ballistocardiograph, coude
        telescope, field-emission microscope, iconoscope, photocoagulator, heliometer, dapsone,
        nortriptyline, oxaprozin, propanolol, saquinavir, sulfamethazine, terazosin, vancomycin,
        azathioprine, mihrab, presbytery, sulfisoxazole, pimozide, cannula, endotracheal tube,
        computerized axial tomography scanner, cash machine, cotton gin, shoe shop, toyshop, ski
        run, gift shop, launderette, shop bell, milk bar, penalty box, speculum, psychrometer,
        electrodynamometer, cryometer, hypsometer, tensimeter, telethermometer, kymograph, head
        shop, junk shop, cookhouse, bindery, home court, playground, barrel organ, music stand,
        stage, matrix, magnetic bubble memory, likeness, fraction, rabbet, quirk molding,
        passe-partout, curette, ward, sickbay, oast house, sugar refinery, meat house, hogshead
    """,
}

# Words that would read oddly as a sighting, whatever their meaning is near to.
UNWANTED = frozenset(
    {"aircraft", "bomb", "cocaine", "condom", "contraceptive", "drug", "execution", "genitals"}
    | {"heroin", "locomotive", "marijuana", "military", "missile", "narcotic", "naval"}
    | {"prostitute", "slang", "suicide", "torture", "warfare", "warship", "weapon"}
)


def load(folder: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Read the objects and their vectors (float32[n, d])."""
    with gzip.open(folder / "objects.jsonl.gz", "rt", encoding="utf-8") as lines:
        objects = [json.loads(line) for line in lines]
    return objects, np.load(folder / "objects_vectors.f16.npy").astype(np.float32)


def examples(objects: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that PLACES names and, for each, the number of its place."""
    first = {thing["name"]: row for row, thing in reversed(list(enumerate(objects)))}
    pairs = [
        (first[name], place)
        for place, words in enumerate(PLACES.values())
        for name in " ".join(words.split()).split(", ")
    ]
    rows, places = np.array(pairs).T
    return rows, places


def place_scores(vectors: np.ndarray, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Ridge regression from vectors to one-hot places: float32[n, number of places].

    Every place weighs the same, however many examples it has.
    """
    weights = 1.0 / np.bincount(places)[places]
    inputs = np.hstack([vectors, np.ones((len(vectors), 1), np.float32)])
    known, target = inputs[rows], np.eye(len(PLACES), dtype=np.float32)[places]
    square = (known * weights[:, None]).T @ known
    ridge = 0.5 * np.trace(square) / len(square) * np.eye(len(square))
    learnt = np.linalg.solve(square + ridge, (known * weights[:, None]).T @ target)
    return np.asarray(inputs @ learnt, np.float32)


def homeliness(vectors: np.ndarray, scores: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Say of each thing how clearly it belongs into a home; what answers a question gains by it."""
    likely: np.ndarray = np.subtract(scores[:, :-1].max(axis=1), scores[:, -1])
    nearest = np.argsort(-(vectors @ queries.T), axis=0)[:8]
    likely[np.unique(nearest)] += 0.3
    return likely


def choose(objects: list[dict[str, Any]], likely: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of the `count` likeliest things, one for each name, ascending."""
    chosen: dict[str, int] = {}
    for row in np.argsort(-likely, kind="stable"):
        name, gloss = objects[row]["name"], objects[row]["gloss"]
        words = set(f"{name} {gloss}".replace(",", " ").replace(";", " ").split())
        if name not in chosen and not words & UNWANTED and len(chosen) < count:
            chosen[name] = int(row)
    return np.array(sorted(chosen.values()))


def main() -> None:
    """Read, choose, write."""
    parser = argparse.ArgumentParser(description="Make objects.npz from the objects set.")
    parser.add_argument("folder", type=Path, help="where objects.jsonl.gz and its arrays are")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("objects.npz"))
    parser.add_argument("--count", type=int, default=2000)
    options = parser.parse_args()

    objects, vectors = load(options.folder)
    queries = np.load(options.folder / "objects_queries.f32.npy")
    words = json.loads((options.folder / "objects_queries.json").read_text(encoding="utf-8"))
    known, places = examples(objects)
    scores = place_scores(vectors, known, places)
    likely = homeliness(vectors, scores, queries)
    likely[known] = np.where(places < len(PLACES) - 1, np.inf, -np.inf)
    rows = choose(objects, likely, options.count)
    np.savez_compressed(
        options.out,
        names=np.array([objects[row]["name"] for row in rows]),
        glosses=np.array([objects[row]["gloss"] for row in rows]),
        kinds=np.array([objects[row]["kind"] for row in rows]),
        rooms=np.array(list(PLACES))[scores[rows, :-1].argmax(axis=1)],
        vectors=vectors[rows].astype(np.float16),
        queries=np.array(words),
        query_vectors=queries.astype(np.float16),
    )
    print(f"{len(rows)} objects, {options.out.stat().st_size / 1e6:.1f} MB: {options.out}")


if __name__ == "__main__":
    main()
