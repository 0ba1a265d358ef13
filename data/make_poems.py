"""Make data/poems.npz and its card from the unpacked npm package ``chinese-poetry`` 2.0.1 and Unihan's readings.

Usage: python data/make_poems.py FOLDER_OF_THE_PACKAGE Unihan_Readings.txt.bz2    (needs opencc, ``pip install opencc``)

K characters in all, ordered by how often the training part has them; N poems in a part.
"""

import bz2
import hashlib
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import opencc

FORMS = {(5, 4): "5x4", (5, 8): "5x8", (7, 4): "7x4", (7, 8): "7x8"}
PARTS = ("train", "validation", "test")
LEAST = 5  # a character that the training part has less often is none of the vocabulary's
LARGEST = 20  # larger groups of poems that share lines train, so that no held-out part hangs on one of them
LEVEL, OBLIQUE = 1, 2  # bits of a character's tone: 3 is both, 0 unknown
GLOSS_LENGTH = 24
LINKS = ("a", "an", "and", "for", "in", "of", "on", "or", "the", "to", "with")  # no gloss is cut after one of these
MODERN = ("kMandarin", "kHanyuPinlu", "kTGHZ2013", "kXHC1983")
# The dictionaries put first what is usual in prose of today; these are usual in poems.
USUAL = {
    "长": "cháng", "还": "huán", "重": "chóng", "为": "wéi", "尽": "jìn", "都": "dū", "没": "mò", "薄": "bó",
    "塞": "sài", "沈": "chén", "弹": "tán", "泊": "bó", "谁": "shuí", "著": "zhuó", "着": "zhuó", "朝": "zhāo",
    "干": "gān", "教": "jiāo", "罗": "luó", "似": "sì", "甚": "shèn", "欹": "qī", "阙": "què", "那": "nǎ",
    "曲": "qǔ", "种": "zhòng", "舍": "shè", "斗": "dǒu", "咽": "yè", "铺": "pū", "予": "yú", "藉": "jiè",
    "仆": "pú", "缝": "féng", "刹": "chà", "鹄": "hú", "谩": "màn", "莎": "suō", "祗": "zhǐ",
}  # fmt: skip
# kTang has some of these in one tone or both and lacks others, whose modern tones mislead, above all where a final -p,
# -t or -k was lost. The rhyme books, and the tones across from them in the poems, have them so.
_OBLIQUE = "说即舌钵犊叔滑负挂赴茗蕙瘴值刹偈决匝吃爵琢芍擘荚绩"
TONES = {**dict.fromkeys(_OBLIQUE, OBLIQUE), **dict.fromkeys("传旋占任傍胜", LEVEL | OBLIQUE)}
# Unihan puts first what a character means by itself or in prose; in a poem it usually means this.
MEANINGS = """
    不 not; 一 one; 无 without; 上 above; 中 amid; 天 sky; 相 each other; 君 you, my lord; 为 be; 是 be;
    得 get; 里 mile; 下 below; 青 green; 尽 end; 应 should; 闲 idle; 朝 morning; 还 return; 重 again;
    将 about to; 似 as if; 楼 tower; 与 with; 阳 sun; 同 together; 成 become; 满 full; 子 son; 从 follow;
    犹 still; 后 after; 古 ancient; 可 can; 外 beyond; 仙 immortal; 吟 chant; 间 among; 离 part; 能 can;
    故 old; 歌 song; 台 terrace; 平 level; 晚 late; 我 I; 野 wild; 孤 lone; 方 direction; 当 ought; 逢 meet;
    关 mountain pass; 意 intent; 华 splendour; 乡 home village; 复 again; 却 yet; 共 together; 留 stay;
    世 world; 汉 Han; 发 set out; 残 remnant; 阴 shade; 公 lord; 经 pass through; 非 is not; 因 because;
    遥 far; 余 what is left; 翠 green; 堪 bear; 唯 only; 安 peace; 楚 Chu; 期 promised time; 然 so; 又 again;
    怜 love, pity; 双 pair; 对 face; 曲 tune; 僧 monk; 垂 hang down; 陵 tomb hill; 数 several; 宿 lodge;
    星 star; 寺 temple; 觉 wake; 久 long; 晴 clear sky; 凤 phoenix; 寂 still; 真 true; 传 pass on; 待 wait;
    登 climb; 疎 sparse; 萧 desolate; 便 then; 苍 grey; 秦 Qin; 画 paint; 兴 zest; 虚 empty; 度 cross; 鸣 cry;
    移 move; 说 say; 悠 far off; 胜 surpass; 会 meet; 亲 kin; 争 vie; 教 make, let; 节 festival; 绝 cut off;
    郎 young man; 珠 pearl; 灵 spirit; 啼 cry; 拂 brush; 师 master; 琴 zither; 穷 exhaust; 怀 cherish; 钟 bell;
    伤 grieve; 征 campaign; 含 hold; 眠 sleep; 荒 wild; 著 wear; 罗 gauze; 塞 frontier; 者 one who;
    辞 take leave; 吴 Wu; 惜 cherish; 功 merit; 缘 along; 偏 leaning; 朱 vermilion; 鬓 temple hair; 干 dry;
    频 often; 湘 the Xiang river; 条 twig; 片 flake; 皇 emperor; 卷 roll; 钓 fish with a rod; 乘 ride;
    尚 still; 骑 ride; 迹 trace; 即 at once; 洛 the Luo river; 足 enough; 吾 I; 报 repay; 飘 drift; 令 let;
    结 tie; 圣 sage; 暂 for a while; 梅 plum; 傍 beside; 交 meet; 折 break off; 那 how; 帘 curtain; 映 reflect;
    都 capital; 翻 turn over; 弦 string; 于 at; 易 easy; 贵 noble; 异 strange; 阙 palace gate; 六 six;
    浦 river bank; 蓬 tumbleweed; 迷 lost; 洲 islet; 由 from; 彩 many-coloured; 玄 dark; 越 Yue; 忧 worry;
    徒 in vain; 字 written character; 沧 dark green; 斋 study; 胡 nomads of the north; 任 let; 惟 only;
    轩 veranda; 御 imperial; 机 loom, device; 齐 level; 尔 you; 章 writing; 肠 bowels; 寥 lonely; 狂 wild;
    盘 dish; 兼 also; 种 plant; 及 reach; 诸 all; 题 inscribe; 携 hold hands; 但 only; 凝 congeal; 苑 park;
    鸿 wild swan; 目 eye; 拟 intend; 第 rank; 危 high, perilous; 倾 tilt; 全 whole; 称 praise; 没 sink;
    骊 Mount Li; 疑 suspect; 层 storey; 低 lower; 李 plum tree; 蜀 Shu; 旅 journey; 岂 how could; 谁 who;
    几 how many; 侯 lord; 终 in the end; 笑 laugh; 萦 wind around; 依 lean on; 莺 oriole; 裳 skirt; 斗 dipper;
    蓑 straw cloak; 如 like, as; 弹 pluck; 咽 sob; 苹 duckweed; 电 lightning; 芝 magic mushroom; 欹 slanting; 巴 Ba;
    鲁 Lu; 凌 rise above; 零 fall, scatter; 荡 sway; 历 pass through; 鼎 tripod; 絮 willow down; 宰 minister;
    玩 enjoy; 偈 Buddhist verse; 封 seal; 走 run; 恨 regret; 怨 resentment; 旌 banner; 尺 foot; 畔 bank;
    鸾 mythical bird; 陌 field path; 之 of, it; 笙 reed pipe; 桐 paulownia; 尧 Yao; 趣 delight; 桡 oar; 麟 unicorn;
    城 walled town; 省 ministry; 鹄 swan; 苏 Su, revive; 占 hold, occupy; 乾 heaven; 艳 gorgeous; 弄 play with;
    祗 only; 谩 in vain; 赋 compose; 调 tune; 澄 limpid
"""
SANDHI = {"一": {"yí", "yì"}, "不": {"bú"}, "七": {"qí"}, "八": {"bá"}}  # tones before another tone, no readings
FIELDS = (*MODERN, "kHanyuPinyin", "kDefinition", "kTang")

_STOPS = re.compile("[，。？！；、]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]+")
_ACCENTS = {"\u0304": 1, "\u0301": 2, "\u030c": 3, "\u0300": 4}


# --- poems ------------------------------------------------------------------------------------------------------------


def read_poems(folder):
    """The regular poems as (lines, title, author), traditional, in the order of the package."""
    files = list((folder / "dist" / "quantangshi").glob("poet.tang.*.json"))
    if not files:
        raise FileNotFoundError(f"no dist/quantangshi/poet.tang.*.json in {folder}")
    for file in sorted(files, key=lambda path: int(path.name.split(".")[2])):
        for poem in json.loads(file.read_text(encoding="utf-8")):
            lines = [line.strip() for line in _STOPS.split("".join(poem["paragraphs"]))]
            lines = [unicodedata.normalize("NFC", line) for line in lines if line]
            if is_regular(lines):
                yield lines, " ".join(poem["title"].split()), poem["author"].strip()


def is_regular(lines):
    """Whether these are 4 or 8 lines, all of 5 or all of 7 Han characters."""
    shapes = {(len(line), len(lines)) for line in lines}
    return len(shapes) == 1 and shapes <= set(FORMS) and all(map(_HAN.fullmatch, lines))


def simplify(poems):
    """Simplified poems (lines, title, author), each text once, and for each simplified character its traditional ones.

    A text that stands under several names is given to the author of the most poems.

    Returns:
        The poems, and ``{simplified: Counter of the traditional characters that it stands for}``.
    """
    poems, convert = list(poems), opencc.OpenCC("t2s").convert
    written = Counter(author for *_, author in poems)
    kept, most, origins = {}, Counter(), defaultdict(Counter)
    for lines, title, author in poems:
        new = tuple(convert(line) for line in lines)
        if any(len(a) != len(b) for a, b in zip(new, lines, strict=True)):
            raise ValueError(f"a line of {title} has another length after conversion")
        if not is_regular(new):
            continue
        if new not in kept:
            for after, before in zip("".join(new), "".join(lines), strict=True):
                origins[after][before] += 1
        if written[author] > most[new]:
            kept[new], most[new] = (new, convert(title), convert(author)), written[author]
    return list(kept.values()), origins


# --- groups and parts -------------------------------------------------------------------------------------------------


def group(poems):
    """A number for each poem; the same for poems joined by a chain of shared lines.

    Two poems are joined if they share a quarter of the shorter one's lines to the letter, or half of them up to one
    character.
    """
    parent = list(range(len(poems)))

    def root(node):
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for keys, share in ((lambda line: [line], 4), (_masked, 2)):
        for (a, b), count in _shared(poems, keys).items():
            if share * count >= min(len(poems[a][0]), len(poems[b][0])):
                parent[root(a)] = root(b)
    return [root(node) for node in range(len(poems))]


def _masked(line):
    """The line with each of its characters left out in turn: lines that differ in one of them share a key."""
    return [line[:k] + "?" + line[k + 1 :] for k in range(len(line))]


def _shared(poems, keys):
    """``{(a, b): number of lines of a that share a key with b}`` for pairs of poems that share any."""
    places = defaultdict(set)
    for number, (lines, *_) in enumerate(poems):
        for row, line in enumerate(lines):
            for key in keys(line):
                places[key].add((number, row))
    found = {(a, b, row) for place in places.values() for a, row in place for b, _ in place if a < b}
    return Counter((a, b) for a, b, _ in found)


def split(poems, groups, seed=20260):
    """Numbers of the poems of each part: by group, eighteen of twenty to train, form by form.

    A group counts for the form of its first poem.
    """
    rng, members, by_form = np.random.default_rng(seed), defaultdict(list), defaultdict(list)
    for number, name in enumerate(groups):
        members[name].append(number)
    parts = {part: [] for part in PARTS}
    for rows in members.values():
        if len(rows) > LARGEST:
            parts["train"] += rows
        else:
            by_form[form_of(poems[rows[0]])].append(rows)
    for form in FORMS.values():
        for place, index in enumerate(rng.permutation(len(by_form[form]))):
            part = {18: "validation", 19: "test"}.get(place % 20, "train")
            parts[part] += by_form[form][index]
    return {part: rng.permutation(rows) for part, rows in parts.items()}


def form_of(poem):
    """The name of the poem's form."""
    return FORMS[len(poem[0][0]), len(poem[0])]


# --- readings ---------------------------------------------------------------------------------------------------------


def read_unihan(path):
    """``{field: {character: value}}`` of the fields in use."""
    fields = {field: {} for field in FIELDS}
    with bz2.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            if line.startswith("U+"):
                code, field, value = line.rstrip("\n").split("\t")
                if field in fields:
                    fields[field][chr(int(code[2:], 16))] = unicodedata.normalize("NFC", value)
    return fields


def readings_of(character, unihan):
    """Pinyin of one character, the most usual first; the large dictionary of old readings only where no other has it.

    Syllables without a tone count only where a character has no other.
    """
    values = [unihan[field].get(character, "") for field in MODERN]
    if not any(values):
        values = [unihan["kHanyuPinyin"].get(character, "")]
    syllables = [re.sub(r"^[^:]*:|\(\d+\)", "", word) for value in values for word in value.split()]
    syllables = list(dict.fromkeys(part for word in syllables for part in word.split(",")))
    syllables = [s for s in syllables if s not in SANDHI.get(character, ())]
    if character in USUAL:
        syllables = list(dict.fromkeys([USUAL[character], *syllables]))
    return [s for s in syllables if modern_tone(s)] or syllables


def modern_tone(syllable):
    """1 to 4, or 0 for a syllable without a tone mark."""
    marks = unicodedata.normalize("NFD", syllable)
    return next((tone for accent, tone in _ACCENTS.items() if accent in marks), 0)


def gloss_of(character, unihan):
    """The first sense of Unihan's definition, cut after a word, or ''."""
    text = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", unihan["kDefinition"].get(character, ""))
    senses = [" ".join(sense.split()) for sense in re.split("[;,:]", text)]
    sense = next((s for s in senses if re.search("[A-Za-z]", s)), "")
    if len(sense) > GLOSS_LENGTH:
        words = sense[: GLOSS_LENGTH + 1].split(" ")[:-1] or [sense[:GLOSS_LENGTH]]
        while words[-1] in LINKS:
            words.pop()
        sense = " ".join(words)
    return sense


@cache
def meanings():
    """``{character: meaning}`` of MEANINGS."""
    entries = MEANINGS.replace("\n", " ").split(";")
    return dict(entry.strip().split(" ", 1) for entry in entries)


def tang_tone(character, unihan):
    """Tone of the Tang from kTang: level without a mark, oblique with one (rising, departing) or with -p, -t, -k."""
    bits = 0
    for reading in unihan["kTang"].get(character, "").split():
        marks = unicodedata.normalize("NFD", reading)
        bits |= OBLIQUE if marks[-1] in "ptk" or "\u030c" in marks or "\u0300" in marks else LEVEL
    return bits


def tone_of(forms, unihan):
    """Tone bits of a character from TONES, or the first of its forms that kTang knows, else from its modern tones.

    Returns:
        The bits, and whether they are the Tang's. TONES goes by the simplified form, which is the last.
    """
    if forms[-1] in TONES:
        return TONES[forms[-1]], True
    if tang := next(filter(None, (tang_tone(form, unihan) for form in forms)), 0):
        return tang, True
    tones = [modern_tone(s) for s in next(filter(None, (readings_of(form, unihan) for form in forms)), [])]
    return sum({LEVEL if tone < 3 else OBLIQUE for tone in tones if tone}), False


# --- file and card ----------------------------------------------------------------------------------------------------


def ranked(poems, rows):
    """Every character, those that the training part has most often first, and how many it has at least LEAST times."""
    counts = Counter("".join("".join(poems[row][0]) for row in rows))
    everything = sorted({c for lines, *_ in poems for line in lines for c in line}, key=lambda c: (-counts[c], c))
    return everything, sum(count >= LEAST for count in counts.values())


def packed(texts):
    """Texts as the bytes of one, joined by newlines."""
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def arrays_of(poems, parts, origins, unihan):
    """The arrays of the file, and the share of running characters whose tone is the Tang's."""
    characters, num_known = ranked(poems, parts["train"])
    number = {character: k for k, character in enumerate(characters)}
    authors = sorted({author for *_, author in poems})
    # Readings of the simplified form, which has all that its traditional ones have. Meaning and tone of the Tang from
    # the form that the poems have most often: 云 is a cloud (雲) here, not "to say". MEANINGS goes by simplified forms.
    old = {c: [form for form, _ in origins[c].most_common()] for c in characters}
    tones = [tone_of([*old[c], c], unihan) for c in characters]
    arrays = {
        "characters": np.array([ord(c) for c in characters], np.uint32),
        "num_known": np.array(num_known),
        "tones": np.array([bits for bits, _ in tones], np.uint8),
        "readings": packed(" ".join(_first(readings_of, [c, *old[c]], unihan)) for c in characters),
        "glosses": packed(meanings().get(c) or _first(gloss_of, [*old[c], c], unihan) for c in characters),
        "authors": packed(authors),
    }
    for part, rows in parts.items():
        chosen = [poems[row] for row in rows]
        ids = [number[c] for lines, *_ in chosen for line in lines for c in line]
        arrays[f"{part}_characters"] = np.array(ids, np.uint16)
        arrays[f"{part}_forms"] = np.array([list(FORMS.values()).index(form_of(poem)) for poem in chosen], np.uint8)
        arrays[f"{part}_titles"] = packed(title for _, title, _ in chosen)
        arrays[f"{part}_authors"] = np.array([authors.index(author) for *_, author in chosen], np.uint16)
    running = np.bincount(np.concatenate([arrays[f"{part}_characters"] for part in PARTS]), minlength=len(characters))
    return arrays, float(running @ [tang for _, tang in tones] / running.sum())


def _first(look_up, forms, unihan):
    return next(filter(None, (look_up(form, unihan) for form in forms)), "")


def card_of(target, arrays, tang_share):
    """What the file holds, where it comes from, and how to know it again."""
    counts = {part: np.bincount(arrays[f"{part}_forms"], minlength=4).tolist() for part in PARTS}
    total = sum(map(sum, counts.values()))
    return {
        "file": target.name,
        "what": f"{total:,} regular Tang poems, of 4 or 8 lines of 5 or 7 characters, in simplified characters, with "
        "title and author; reading, short English meaning and tone of every character",
        "source": "dist/quantangshi/poet.tang.*.json of the npm package chinese-poetry 2.0.1 (Complete Tang Poems); "
        "simplified with OpenCC (t2s); readings, meanings and tones from the Unihan database of Unicode 15.0, some "
        "three hundred meanings, some forty readings and thirty-one tones by hand as poems have them",
        "licence": "package: MIT, the poems themselves are in the public domain; Unihan: Unicode License v3",
        "punctuation": "left out of the file and put back alike everywhere, a comma after odd lines and a full stop "
        "after even ones: the source's question marks and semicolons are lost",
        "characters": "OpenCC leaves some variant forms (疎, 簷, 鴈) as the source has them, beside the usual ones",
        "choice": "poems with a gap, a note in brackets or anything but Han characters left out; of equal texts "
        "one kept, that of the author with the most poems",
        "parts": "90 / 5 / 5 by groups, form by form: poems that share a quarter of the shorter one's lines, or half "
        f"of them up to one character, lie in one part; groups of more than {LARGEST} poems train",
        "counts": {part: dict(zip(FORMS.values(), counts[part], strict=True)) for part in PARTS},
        "tones": f"of the Tang (kTang, or by hand: level, or oblique: rising, departing, entering) for "
        f"{tang_share:.1%} of the running characters, else of modern Mandarin",
        "made_by": "data/make_poems.py",
        "bytes": target.stat().st_size,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
    }


def main(package, readings):
    target = Path(__file__).with_name("poems.npz")
    poems, origins = simplify(read_poems(Path(package)))
    parts = split(poems, group(poems))
    arrays, tang_share = arrays_of(poems, parts, origins, read_unihan(readings))
    np.savez_compressed(target, **arrays)
    card = card_of(target, arrays, tang_share)
    target.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
