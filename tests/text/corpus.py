"""Texts in many scripts and languages for the text room's tests, and strategies that make more."""

# ruff: noqa: RUF001, E501 (letters that look alike, and lines that no one should break)
from __future__ import annotations

from hypothesis import strategies as st

TEXTS = """\
Proper URL escaping as per RFC3986 for Go
The quick brown foxes weren't jumping over 13 lazy dogs; they'd been running since 07:45.
A mug stands on the kitchen table, next to two plates, three forks and a half-empty bottle.
GPU-accelerated point-cloud registration (ICP, NDT) for ROS 2 Humble; see docs/usage_v2.md!
def getHTTPResponse2(self, base_url: str) -> HTTPResponse: return self._session.get(base_url)
std::vector<int> kDefault{0xFF, 1e-9}; // TODO_LATER: parseURLs(IDsOf(x)), XMLHttpRequest
Wir sind über die Straße gegangen, weil die Häuser größer waren als unsere Wohnungen.
Der Roboter hat die Küche gesaugt und die Türen geöffnet; anschließend fuhr er zur Ladestation.
L'été dernier, nous avons vu des cœurs brisés à l'œuvre, çà et là, où qu'ils fussent.
Les chevaux mangeaient continuellement; « incroyable », disaient-ils, naïvement.
El niño corrió rápidamente hacia las montañas, ¿verdad? ¡Qué camión tan pequeño!
A ação do coração não está só na emoção; as crianças brincavam alegremente.
Gli amici andavano lentamente verso la città, perché l'acqua era già finita.
De kinderen speelden vrolijk in de tuinen; het coördineren van ideeën was moeilijk.
Flickorna sprang snabbt över ängarna medan fåglarna sjöng i träden på våren.
Børnene løb hurtigt gennem gaderne; æblerne lå på bordet, å, så smukke.
Jentene løp fort gjennom skogen, og guttene fisket i elva hele dagen.
Lapset juoksivat nopeasti metsässä, ja äidit keittivät kahvia taloissaan.
A gyerekek gyorsan futottak az erdőben, és a házaikban meleg étel várta őket.
Copiii alergau repede prin pădure, iar păsările cântau în copaci și pe câmpii.
Çocuklar İstanbul'da hızlıca koşuyorlardı; ılık bir IŞIK gördüler ve güldüler.
Быстрые коричневые лисицы прыгали через ленивых собак, и они не заметили этого.
Роботы открывали двери кухни и возвращались к зарядным станциям; ёлка стояла там.
Τα παιδιά έτρεχαν γρήγορα στους ΔΡΟΜΟΥΣ της ΠΟΛΗΣ, και ο Σίσυφος γελούσε.
كانت الشجرة الكبيرة في المدرسة، والأطفال يلعبون حولها كل يوم ١٢٣.
הילדים רצו מהר ביער, וְהַצִּפּוֹרִים שרו בעצים כל היום.
बच्चे जंगल में तेज़ी से दौड़ रहे थे, और पक्षी पेड़ों पर गा रहे थे।
শিশুরা বনের মধ্যে দ্রুত দৌড়াচ্ছিল, এবং পাখিরা গাছে গান গাইছিল।
குழந்தைகள் காட்டில் வேகமாக ஓடினார்கள், பறவைகள் மரங்களில் பாடின.
เด็กๆ วิ่งเร็วในป่า และนกร้องเพลงบนต้นไม้ น้ำ ๑๒๓
今天是星期一，机器人在厨房里找到了一个红色的杯子。
ロボットは台所で赤いコップを見つけました。カタカナ、ひらがな、漢字。
로봇이 부엌에서 빨간 컵을 찾았습니다. 한국어 텍스트 123.
Trẻ em chạy nhanh trong rừng, và những con chim hót trên cây.
Երեխաները արագ վազում էին անտառում, իսկ թռչունները երգում էին ծառերին։
ბავშვები სწრაფად დარბოდნენ ტყეში, ხოლო ჩიტები გალობდნენ ხეებზე.
Балалар орманда жылдам жүгірді, құстар ағаштарда ән айтты және сайрады.
Кӯдакон дар ҷангал тез медавиданд ва паррандагон дар дарахтон месуруданд.
Anak-anak berlari cepat di hutan, dan burung-burung bernyanyi di pohon yang tinggi.
Haurrak azkar korrika zebiltzan basoan, eta txoriak zuhaitzetan kantari ari ziren.
Els nens corrien de pressa pel bosc, i els ocells cantaven als arbres; l'aigua il·lumina.
Otroci so hitro tekli po gozdu, ptice pa so pele na drevesih, čeprav je deževalo.
Uşaqlar meşədə sürətlə qaçırdılar, quşlar isə ağaclarda oxuyurdular və güldülər.
बालबालिकाहरू जङ्गलमा छिटो दौडिरहेका थिए, र चराहरू रूखमा गाइरहेका थिए।
mujhe kitchen mein ek laal cup mila, aur robot usko table par rakh raha tha yaar
e\u0301te\u0301 cafe\u0301 A\u030angstro\u0308m \u212bngström ﬁne ﬂow oﬃce Ｆｕｌｌ ｗｉｄｔｈ １２３
🤖 found a ☕ 👩\u200d👩\u200d👧\u200d👦 family 👍🏽 thumbs; 5️⃣ keycaps, 🇩🇪 flags, café☕now
snake_case_name __init__ _private SCREAMING_SNAKE kebab-case camelCase PascalCase x_1 a1B2c3D
½ cup, x² + y³ = z⁴, Ⅷ ⅷ ⓐⒷ №5 ™ ª º 10€ $20 ٣٤٥ १२३ ǅ ǆ Ǆ ß ẞ ſ ŉ
zero\u200bwidth non\u00a0breaking soft\u00adhyphen joiner\u200djoin tab\there line\x1fsep\x1cend\x85nel
ΣΑΣ ΑΣ Σ ὈΔΥΣΣΕΎΣ Σ. ΑΣ_ ΑΣ1 ΑΣ' 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐐀𐐁𐐨 𞤀𞤢 𒐀 ꓐ
mustn't needn't shouldn't y'all o'clock rock'n'roll it's ISN'T
Ærøskøbing Œuvre Þór Ðuro Łódź Øresund Ĳssel Ǆungla Ŀl 〈quoted〉 “smart” ‘single’ — dash – en
""".splitlines()
"""One text a line; \x1c to \x1f and \x85 end lines for `splitlines`, so that some are fragments."""

_PIECES = [
    *"aBcSsZz_ \t-.'19",
    *"éÉßİıΣσςǅⅧⓑⒷª²½٣",
    *"日本語が한กำकाاب",
    "e\u0301",
    "\u0301",
    "👍🏽",
]
_PIECES += ["\x00", "\x1f", "\u200d", "\u00a0", "ﬁ", "Æ", "URLs", "IDs", "foo", "Bar", "running"]
_PIECES += ["the", "\U0001e900", "𝔘", "__", "0x"]

fragments = st.lists(st.sampled_from(_PIECES), max_size=14).map("".join)
"""Short texts of what tokenizers trip over."""

# Neither lone surrogates, which are no text, nor what Unicode gained after Python 3.11's version.
characters = st.characters(exclude_categories=("Cs", "Cn"))
texts = st.one_of(
    fragments,
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3).map(" ".join),
    st.text(characters, max_size=30),
)
"""Texts in all scripts."""
