"""The phrases `screening.py` looks for.

Sans-I/O. A line is a phrase, its words in order. `(a|b)` or `a|b` is one of them, `[a|b]` may be left out,
`_` is a space inside a choice, `*` any word, `{name}` the vocabulary's; what follows `!` must not come next.
The first word is a plain one. A new phrase comes with two sentences in the tests: one it catches, and one
like it that it must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

VOCABULARY: Mapping[str, str] = MappingProxyType(
    {
        "drop": "ignore|disregard|forget|override|bypass",
        "those": "[the|your|these|those|any]",
        "earlier": "previous|prior|preceding|earlier|above|foregoing|initial|original|existing|system",
        "orders": "instructions?|rules|prompts?|guidelines|directives|constraints|restrictions|safeguards",
        # whose orders they are: somebody's of this world, not the model's
        "theirs": "(?:of|from|by|in|on|for)_(?:my|our|his|her|their|the_(?:exam|test|teacher|book|game))",
        "pursuit": "background|career|classe?s?|courses?|degree|dreams?|homework|job|passion|skills?",
        "show": "show|reveal|print|repeat|output|display|leak|dump|recite|disclose|tell|give|send|list|share",
        "to_me": "[me|us] [all] [of]",
        "text_above": "[all|everything] [of] [the] [text|words|content] [from] above",
        "inner": "system|hidden|secret|initial|original|exact",
        "exactly": "verbatim|word_for_word|(?:starting|beginning)_(?:with|from)",
        "keys": "api.?keys?|secret_keys?|access_tokens?|jwt_secrets?|environment_variables|env_vars",
        "server's": "your|the_server's|the_system's|the_openrouter(?:'s)?|openrouter(?:'s)?",
        "private": "messages|conversations|chats|chat_history|passwords|personal_data|emails|tokens",
        "you": "you_are|you're",
        "lawless": "unrestricted|unfiltered|uncensored|jailbroken",
        "act": "act|behave|respond|answer|imagine|pretend|roleplay|role-play",
        "no_laws": "no_(?:{orders})|no_longer_(?:bound|restricted)|ignore_(?:all|your)|disregard",
        "abaikan": "abaikan|abaikanlah|lupakan|lupakanlah|kesampingkan|langgar|jangan_hiraukan",
        "semua": "[semua|seluruh|segala]",
        "perintah": "instruksi|perintah|aturan|arahan|petunjuk|pedoman|batasan|prompt",
        "sebelumnya": "sebelumnya|sebelum_ini|di_atas|terdahulu|sistem|system|awal|asli|kamu|anda",
        "mereka": "(?:dari|oleh|milik)_(?:guru|dosen|atasan|bos|orang_tua|ayah|ibu|teman|saya|mentor)",
        "tampilkan": "tampilkan|tunjukkan|perlihatkan|bocorkan|berikan|sebutkan|ulangi|cetak|kirim|kirimkan",
        "kepada_saya": "[kepada] [saya|aku] [semua|seluruh]",
        "rahasia": "system_prompt|prompt_(?:sistem|system|rahasia)|instruksi_(?:sistem|rahasia|tersembunyi)",
        "pribadi": "pesan|percakapan|data|data_pribadi|kata_sandi|email",
        "kamu": "kamu|anda",
        "seolah": "berpura-pura|berpura-puralah|pura-pura|bertindak|bertindaklah|berperan|berperanlah|anggap",
        "seakan": "[seolah-olah|seolah|seakan-akan|sebagai]",
        "bot": "ai|model|asisten|bot|chatbot",
        "tanpa": "[yang] tanpa|tidak_punya|tidak_memiliki|tidak_terikat|tidak_dibatasi [oleh]",
        "aturan": "aturan|batasan|filter|sensor",
    }
)

PHRASES: Mapping[str, str] = MappingProxyType(
    {
        "drop_instructions": """
            {drop} [all|any] [of] {those} {earlier} [and|or] [{earlier}] [*] {orders} !{theirs}
            {drop} [all|any] [of] your [*] {orders}
            {drop} your [own|core] programming !{pursuit}
            {drop} all [of] [the] {orders} above|before|so_far|you_(?:were|have|had|got|received)
            {drop} everything|anything|all [that] you_were|you_have_been|you've_been told !about
            {abaikan} {semua} {perintah} [dan] [{perintah}] [yang] {sebelumnya} !{mereka}
            {abaikan} {semua} (?:{perintah})mu
        """,
        "show_instructions": """
            {show} {to_me} the [full|exact] system|developer prompt|message|instructions?
            {show} {to_me} your [*] system|developer|hidden|secret|internal prompt|message|rules|guidelines
            {show} {to_me} your [*] system|developer|hidden|secret|internal instructions?
            {show} {to_me} your initial|original|exact|full|own|complete prompt|instructions
            what|what's|whats [is|are|was|were] your {inner} prompt|message|instructions?
            repeat|print|output|copy|write [out] {text_above} {exactly}
            {tampilkan} {kepada_saya} [isi|teks] [dari] (?:{rahasia})(?:mu)?
            apa [saja] [isi] [dari] {rahasia} {kamu}|mu
            apa [saja] [isi] [dari] (?:{rahasia})mu
        """,
        "other_self": """
            {you} [now] [a|an] {lawless}
            {act} [now] [as|like|to] [if_you_were|be] [a|an] {lawless}
            {you} [now] in developer|god|debug|admin|root|jailbreak|dan|unrestricted mode
            enter|activate|engage|switch_to|switch_into jailbreak|unrestricted|unfiltered|dan mode
            {act} [as_if|as_though|like|that] you have|had|follow|obey no [*] {orders}|limits|filters?|ethics
            from now on you [will|must|shall|can|should] [are|be|have] {no_laws}
            kamu|anda [sekarang] [adalah|jadilah|menjadi] [sebuah|seorang] {bot} {tanpa} {aturan}
            {seolah} {seakan} {kamu} [adalah] [{bot}] {tanpa} {aturan}
            {seolah} {seakan} {bot} {tanpa} {aturan}
            mulai sekarang {kamu} tidak|tidak_lagi terikat|punya|memiliki|mengikuti [oleh|pada] {perintah}
        """,
        "secrets": """
            {show} {to_me} {server's} [*] {keys}
            {show} {to_me} [the] {private} of [all|the] other users
            {show} {to_me} [the] other users'?|user's {private}
            {tampilkan} {kepada_saya} api.?key|kunci_api [milik] {kamu}|mu|server|sistem
            {tampilkan} {kepada_saya} (?:api.?key|kunci_api)mu
            {tampilkan} {kepada_saya} {pribadi} [milik|dari] pengguna lain
        """,
    }
)
