import Measures

/// A made-up voice: what is spoken in the experiment with a call, since no recording is shipped.
///
/// A formant synthesizer after Klatt (JASA 67, 1980) at its barest: pulses of the vocal cords or
/// noise go through three resonators whose frequencies glide from vowel to vowel. It says nothing,
/// but it has a voice's pitch, syllables and pauses. 16 bit, 8,000 samples a second; the same seed
/// gives the same voice.
enum Speech {
    static let sampleRate = 8_000

    /// Centre frequencies of the first three formants in hertz (Peterson and Barney, JASA 24, 1952;
    /// men).
    private static let vowels: [(Double, Double, Double)] = [
        (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410),
        (730, 1090, 2440), (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390)
    ]
    private static let bandwidths = (60.0, 90.0, 150.0)

    /// `seconds` of it, its loudest sample at four fifths of full scale.
    static func samples(seconds: Int, seed: UInt64) -> [Int16] {
        var random = SeededRandom(seed: seed)
        var voice = Voice()
        var out: [Double] = []
        let count = seconds * sampleRate
        out.reserveCapacity(count + sampleRate)
        while out.count < count {
            voice.pitch = 125
            for _ in 0..<random.number(2...7) { voice.syllable(&out, from: &random) }
            voice.pause(&out, milliseconds: random.number(250...700), from: &random)
        }
        out.removeLast(out.count - count)
        let peak = out.reduce(1e-9) { max($0, $1.magnitude) }
        return out.map { Int16(($0 / peak * 0.8 * 32_767).rounded()) }
    }

    private struct Voice {
        var pitch = 125.0
        private var phase = 0.0
        private var glottis = 0.0
        private var formants = (Resonator(), Resonator(), Resonator())
        private var current = Speech.vowels[8]

        /// A consonant (noise, or the vowel's own soft beginning) and a vowel.
        mutating func syllable(_ out: inout [Double], from random: inout SeededRandom) {
            let target = Speech.vowels[random.number(0...(Speech.vowels.count - 1))]
            let loudness = 0.5 + random.unit() / 2
            if random.chance(0.4) {
                hiss(&out, milliseconds: random.number(40...90), from: &random)
            }
            let length = random.number(90...260) * Speech.sampleRate / 1000
            let start = current
            for i in 0..<length {
                let t = Double(i) / Double(length)
                let glide = min(1, t * 4)
                current = (
                    start.0 + (target.0 - start.0) * glide, start.1 + (target.1 - start.1) * glide,
                    start.2 + (target.2 - start.2) * glide
                )
                if i % 40 == 0 { tune() }
                // Rises within a sixth, falls in the last third; never quite to nothing.
                let envelope = max(0.08, min(1, min(t * 6, (1 - t) * 3)))
                out.append(sample(loudness: loudness * envelope, noise: 0.01, from: &random))
                pitch = max(85, pitch - 8 / Double(Speech.sampleRate))
            }
        }

        private mutating func hiss(
            _ out: inout [Double], milliseconds: Int,
            from random: inout SeededRandom
        ) {
            let length = milliseconds * Speech.sampleRate / 1000
            var last = 0.0
            for i in 0..<length {
                let envelope = min(1, min(Double(i), Double(length - i)) / 80)
                let noise = random.unit() - 0.5
                out.append((noise - last) * 0.25 * envelope)  // high-passed
                last = noise
            }
        }

        /// Breath and room: a pause isn't quite silent.
        mutating func pause(
            _ out: inout [Double], milliseconds: Int, from random: inout SeededRandom
        ) {
            for _ in 0..<(milliseconds * Speech.sampleRate / 1000) {
                out.append((random.unit() - 0.5) * 0.004)
            }
        }

        private mutating func tune() {
            formants.0.tune(current.0, Speech.bandwidths.0)
            formants.1.tune(current.1, Speech.bandwidths.1)
            formants.2.tune(current.2, Speech.bandwidths.2)
        }

        private mutating func sample(
            loudness: Double, noise: Double,
            from random: inout SeededRandom
        ) -> Double {
            phase += pitch / Double(Speech.sampleRate)
            var source = (random.unit() - 0.5) * noise
            if phase >= 1 { phase -= 1; source += 1 }
            // The vocal cords close softly: their pulse loses its upper half.
            glottis = glottis * 0.9 + source
            return loudness * formants.2.pass(formants.1.pass(formants.0.pass(glottis)))
        }
    }

    /// Two poles: y = a x + b y' + c y''.
    private struct Resonator {
        private var a = 1.0, b = 0.0, c = 0.0
        private var y1 = 0.0, y2 = 0.0

        mutating func tune(_ frequency: Double, _ bandwidth: Double) {
            let rate = Double(Speech.sampleRate)
            let radius = Series.exponential(-Double.pi * bandwidth / rate)
            c = -radius * radius
            b = 2 * radius * Series.cosine(2 * Double.pi * frequency / rate)
            a = 1 - b - c
        }

        mutating func pass(_ x: Double) -> Double {
            let y = a * x + b * y1 + c * y2
            y2 = y1
            y1 = y
            return y
        }
    }

    /// Power series, so that the same bits come out with any C library; arguments up to 4 or so.
    private enum Series {
        static func exponential(_ x: Double) -> Double {
            var sum = 1.0, term = 1.0
            for n in 1..<24 { term *= x / Double(n); sum += term }
            return sum
        }
        static func cosine(_ x: Double) -> Double {
            var sum = 1.0, term = 1.0
            for n in 1..<14 { term *= -x * x / Double((2 * n - 1) * 2 * n); sum += term }
            return sum
        }
    }
}

/// A WAV file of one channel, 16 bit.
enum WaveFile {
    static func bytes(_ samples: [Int16], rate: Int) -> [UInt8] {
        func little(_ value: Int, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        let size = samples.count * 2
        var out = Array("RIFF".utf8) + little(36 + size, 4) + Array("WAVEfmt ".utf8)
        out += little(16, 4) + little(1, 2) + little(1, 2)  // PCM, one channel
        out += little(rate, 4) + little(rate * 2, 4) + little(2, 2) + little(16, 2)
        out += Array("data".utf8) + little(size, 4) + Speech.bytes(samples)
        return out
    }
}

extension Speech {
    /// As they travel and as they lie in a WAV file: little-endian.
    static func bytes(_ samples: [Int16]) -> [UInt8] {
        samples.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
    }
}
